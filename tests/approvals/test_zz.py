import tests.approvals.zz_stat
from tests.approvals.test_machine import *
