"""Settings of the example. DOMAIN and SECRET_KEY come from the environment of the service."""

import os
import secrets

# Django answers only these names, and consumers admit only pages of them.
ALLOWED_HOSTS = [os.environ["DOMAIN"]]

# The proxy sets this header on every request: without it, Django takes all of them for plain HTTP.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Without a key of your own, each start has a new one, which ends all sessions.
SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50)

# Messages reach the clients of this process only; use channels_redis for several.
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

INSTALLED_APPS = ["channels", "chat"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "chat.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
