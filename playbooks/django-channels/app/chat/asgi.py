"""What daphne, uvicorn or another ASGI server runs."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
pages = get_asgi_application()  # before anything that imports models

from chat.consumers import Chat  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": AllowedHostsOriginValidator(
            URLRouter([path("ws/chat/<slug:room>/", Chat.as_asgi())])
        ),
    }
)
