import collections, tests.approvals.machine as m
C=collections.Counter()
orig=m.Approvals.teardown
def td(self):
    from approvals.models import AccessRequest
    for s in AccessRequest.objects.values_list("status",flat=True): C[s]+=1
    from approvals.models import Decision
    C["decisions"]+=Decision.objects.count()
    C["examples"]+=1
    orig(self)
m.Approvals.teardown=td
import atexit; atexit.register(lambda: print(C))
