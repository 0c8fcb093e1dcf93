import pytest, httpx
from tests.gateways.litellm.conftest import Story, user
pytestmark=[pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]
def test_dbg(story: Story):
    body = {"model": "claude", "stream": True, "max_tokens": 50, "messages": [user("SLOW and long")]}
    for path in ["/v1/messages"]:
        with story.http.stream("POST", path, json=body, headers={"Authorization": f"Bearer {story.world.token}"}) as a:
            print(a.status_code, a.headers)
            for l in a.iter_lines(): print(repr(l[:200]))
    print(story.asked())
    print(story.proxy.output()[-3000:])
    assert 0
