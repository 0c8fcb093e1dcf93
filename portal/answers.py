"""What the edge answers itself, before a view or in place of one."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from core.errors import DomainError
from core.problems import CONTENT_TYPE, from_error


def lead_to(request: HttpRequest, target: str) -> HttpResponse:
    """Send the browser to another page; a swapped fragment would show that page inside this one."""
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)


def problem_document(error: DomainError) -> JsonResponse:
    """Tell a program why its call was refused."""
    return JsonResponse(from_error(error), status=int(error.status), content_type=CONTENT_TYPE)
