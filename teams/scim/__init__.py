"""SCIM 2.0 (RFC 7643, RFC 7644): how the identity provider's directory tells who works here."""
