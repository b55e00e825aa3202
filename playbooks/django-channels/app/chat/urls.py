"""Pages."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path


def room(request):
    return render(request, "room.html")


def health(request):
    return HttpResponse("ok\n", content_type="text/plain")


def connection(request):
    """What Django makes of the proxy's headers; remove it from your own app."""
    text = f"{request.build_absolute_uri()} from {request.META['REMOTE_ADDR']}\n"
    return HttpResponse(text, content_type="text/plain")


urlpatterns = [path("", room), path("health", health), path("connection", connection)]
