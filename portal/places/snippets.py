"""What a developer pastes to call a model with a key of a project."""

CURL = """curl {base_url}/v1/chat/completions \\
  -H "Authorization: Bearer $PURSER_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""

PYTHON = """import os

from openai import OpenAI

client = OpenAI(
    base_url="{base_url}/v1",
    api_key=os.environ["PURSER_KEY"],
)
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)"""
MESSAGES = """import os

from anthropic import Anthropic

client = Anthropic(
    base_url="{base_url}",
    api_key=os.environ["PURSER_KEY"],
)
answer = client.messages.create(
    model="{model}",
    max_tokens=500,
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.content[0].text)"""
MANAGEMENT = """curl {base_url}/api/v1/budgets/ \\
  -H "Authorization: Bearer $PURSER_TOKEN\""""
NO_MODEL = "a-model"


def curl(*, base_url: str, model: str) -> str:
    """Return the call for a shell; the key comes from the environment, never from the page."""
    return CURL.format(base_url=base_url, model=model or NO_MODEL)


def python(*, base_url: str, model: str) -> str:
    """Return the call with OpenAI's client for Python."""
    return PYTHON.format(base_url=base_url, model=model or NO_MODEL)


def messages(*, base_url: str, model: str) -> str:
    """Return the call with Anthropic's client for Python."""
    return MESSAGES.format(base_url=base_url, model=model or NO_MODEL)
