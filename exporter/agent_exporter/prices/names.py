"""What a gateway calls a model, without what it puts around the name: for the price table, and for nothing else.

    openrouter/anthropic/claude-sonnet-4                    claude-sonnet-4
    bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0      claude-sonnet-4-20250514
    azure/eu/gpt-4o-2024-08-06                              gpt-4o-2024-08-06

Only what is listed here is taken off, so that no model gets the price of another: `groq/...` or `my-tunes/gpt-4o` has
the price that the config gives it, or none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VENDORS = "openai|anthropic|google|gemini|mistral|mistralai|deepseek|x-ai|xai|cohere"
_GATEWAYS = (
    "openrouter|litellm|litellm_proxy|azure|azure_ai|azure_openai|azure-openai|bedrock|bedrock_converse|converse|invoke"
    "|vertex_ai|vertex-ai|vertexai|google-vertex|google-gla|google_genai|google_vertexai|google_ai_studio"
    "|text-completion-openai|openai-chat|openai-responses|chat|responses|cohere_chat|models|vercel|vercel_ai_gateway"
    "|ai-gateway|github|github_copilot|helicone|portkey|cloudflare"
)
"""As LiteLLM, OpenRouter, LangChain, pydantic-ai, Vercel and Portkey write them: these pass calls on to the vendor, at
its prices."""
_REGIONS = r"us|eu|global|global-standard|apac|[a-z]{2}(?:-gov)?-[a-z]+-\d"
_PREFIXES = (
    re.compile(r"arn:aws[\w-]*:bedrock:[^/]*/"),
    re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?publishers/(?:google|anthropic|mistralai)/models/"),
    re.compile(rf"@?(?:{_VENDORS}|{_GATEWAYS}|{_REGIONS})[/:]"),
    re.compile(r"~(?=\w)"),  # OpenRouter: the newest of a family
    re.compile(rf"(?:(?:us|us-gov|eu|apac|global|jp|au|ca|sa|me)\.)?(?:{_VENDORS})\.(?=\w)"),
)
_SUFFIXES = (
    re.compile(r":(?:nitro|floor|online|beta|exacto|thinking|latest)"),
    re.compile(r"@(?:latest|default|\d{8})"),
    re.compile(r"-(?:v\d)?\d?:\d+(?::\d+k)?"),  # Bedrock: -v1:0, -1:0, -v2:0:200k
    re.compile(r"(?<=-\d{8})-v\d"),
    re.compile(r"-00\d"),  # Gemini's versions
    re.compile(r"-latest"),
    re.compile(r"-20\d\d(?:-?)(?:0[1-9]|1[0-2])(?:-?)(?:[0-2]\d|3[01])"),
)
MAX_LENGTH = 256
"""Characters of a name that is looked at so; longer ones are none."""


def plainer(model: str) -> Iterator[str]:
    """The name as it is, then with less and less around it: prefixes go first, then suffixes."""
    yield model
    if len(model) > MAX_LENGTH:
        return
    name = model.strip().lower()
    if name != model:
        yield name
    while (less := _without_prefix(name)) is not None:
        name = less
        yield name
    while (less := _without_suffix(name)) is not None:
        name = less
        yield name


def is_free(model: str) -> bool:
    """OpenRouter's variants that cost nothing."""
    return model.lower().endswith(":free")


def _without_prefix(name: str) -> str | None:
    for prefix in _PREFIXES:
        if (found := prefix.match(name)) and found.end() < len(name):
            return name[found.end() :]
    return None


def _without_suffix(name: str) -> str | None:
    for suffix in _SUFFIXES:
        for found in suffix.finditer(name):
            if found.end() == len(name) and found.start() > 0:
                return name[: found.start()]
    return None
