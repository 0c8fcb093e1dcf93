"""What an answer may be besides JSON."""

from rest_framework.renderers import JSONRenderer


class CsvRenderer(JSONRenderer):
    """Lets a caller ask for text/csv by name; what is refused is a problem document all the same."""

    media_type = "text/csv"
    format = "csv"
