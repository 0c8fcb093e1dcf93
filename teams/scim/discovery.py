"""What this server can do, for directories that ask before they tell (RFC 7643, 5 to 7)."""

from teams.scim.protocol import CONFIG, GROUP, MAX_RESULTS, RESOURCE_TYPE, SCHEMA, USER, Json


def service_provider_config() -> Json:
    """Return the abilities: PATCH and simple filters; no bulk, no sorting, no passwords, no versions."""
    no = {"supported": False}
    return {
        "schemas": [CONFIG],
        "patch": {"supported": True},
        "bulk": {**no, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": no,
        "sort": no,
        "etag": no,
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "One of SCIM_TOKENS in the Authorization header.",
                "primary": True,
            }
        ],
    }


def resource_types() -> list[Json]:
    """Return the two kinds of resources."""
    return [
        {
            "schemas": [RESOURCE_TYPE],
            "id": name,
            "name": name,
            "endpoint": f"/{name}s",
            "description": description,
            "schema": schema,
        }
        for name, schema, description in (
            ("User", USER, "A person who may sign in"),
            ("Group", GROUP, "A group that may stand for a role"),
        )
    ]


def schemas() -> list[Json]:
    """Return the attributes that are kept."""
    return [
        {
            "schemas": [SCHEMA],
            "id": USER,
            "name": "User",
            "description": "A person who may sign in",
            "attributes": [
                _attribute("userName", required=True, uniqueness="server"),
                _attribute("externalId"),
                _attribute("displayName"),
                {
                    **_attribute("name", kind="complex"),
                    "subAttributes": [_attribute(part) for part in ("formatted", "givenName", "familyName")],
                },
                {**_attribute("emails", kind="complex", multi=True), "mutability": "readOnly"},
                _attribute("active", kind="boolean"),
                {**_attribute("groups", kind="complex", multi=True), "mutability": "readOnly"},
            ],
        },
        {
            "schemas": [SCHEMA],
            "id": GROUP,
            "name": "Group",
            "description": "A group that may stand for a role",
            "attributes": [
                _attribute("displayName", required=True, uniqueness="server"),
                _attribute("externalId"),
                {
                    **_attribute("members", kind="complex", multi=True),
                    "subAttributes": [_attribute(part) for part in ("value", "display", "type")],
                },
            ],
        },
    ]


def _attribute(
    name: str,
    *,
    kind: str = "string",
    required: bool = False,
    multi: bool = False,
    uniqueness: str = "none",
) -> Json:
    return {
        "name": name,
        "type": kind,
        "multiValued": multi,
        "required": required,
        "caseExact": False,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": uniqueness,
    }
