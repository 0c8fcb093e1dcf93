"""What config.yaml names: `purser_litellm.user_api_key_auth` and `purser_litellm.callbacks`.

LiteLLM runs this file once for each of the two names, outside the module table; the package beside it is
imported once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from purser_plugin.start import callbacks, user_api_key_auth

__all__ = ["callbacks", "user_api_key_auth"]
