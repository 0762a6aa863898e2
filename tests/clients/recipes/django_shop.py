"""A shop on Django and SQLite, with the recipe of docs/recipes.md: `django_shop.py RECIPE URL KEY DIRECTORY`."""

import json
import sys
import urllib.request
from pathlib import Path

import django
from django.conf import settings

recipe, URL, KEY, directory = sys.argv[1:]
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{directory}/shop.db"}})
django.setup()

from django.db import connection, models, transaction  # noqa: E402 (Django must be set up)
from django.db.models.signals import post_save  # noqa: E402
from django.dispatch import receiver  # noqa: E402


class Order(models.Model):
    state = models.TextField()
    version = models.IntegerField()

    class Meta:
        app_label = "shop"


exec(compile(Path(recipe).read_text(), recipe, "exec"))

with connection.schema_editor() as editor:
    editor.create_model(Order)

with transaction.atomic():
    order = Order.objects.create(id=42, state="new", version=1)
with transaction.atomic():
    order.state, order.version = "paid", 2
    order.save()
with transaction.atomic():
    order.save()  # The same once more, as a task that is run again would.
try:
    with transaction.atomic():
        order.state, order.version = "void", 3
        order.save()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass

print(Order.objects.get(id=42).state)
