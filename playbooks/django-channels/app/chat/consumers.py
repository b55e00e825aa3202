"""A chat room: each message goes to everyone in it."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = "chat-" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content):
        message = {"type": "chat.message", "text": str(content["text"])}
        await self.channel_layer.group_send(self.room, message)

    async def chat_message(self, event):
        await self.send_json({"text": event["text"]})
