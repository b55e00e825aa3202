// A client of Pusher's protocol, and the application that sends events: one line of JSON on what happened.
// Arguments: name of the site, key of the app. NODE_EXTRA_CA_CERTS names the root of its certificate.
const Pusher = require("pusher-js");
const Server = require("pusher");

const [, , host, key] = process.argv;
const server = new Server({ appId: "app-id", key, secret: "app-secret", host, port: "443", useTLS: true });

function connected() {
  const client = new Pusher(key, {
    cluster: "",
    wsHost: host,
    wssPort: 443,
    forceTLS: true,
    enabledTransports: ["ws", "wss"],
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, answer) =>
        answer(null, server.authorizeChannel(socketId, channelName)),
    },
  });
  return new Promise((settle, fail) => {
    client.connection.bind("connected", () => settle(client));
    client.connection.bind("error", fail);
    client.connection.bind("unavailable", () => fail(new Error("unavailable")));
  });
}

function subscribed(client, name) {
  const channel = client.subscribe(name);
  return new Promise((settle, fail) => {
    channel.bind("pusher:subscription_succeeded", () => settle(channel));
    channel.bind("pusher:subscription_error", fail);
  });
}

const heard = (channel, event) => new Promise((settle) => channel.bind(event, settle));

async function main() {
  const clients = [await connected(), await connected()];
  const [ada, bob] = await Promise.all(clients.map((each) => subscribed(each, "private-room")));
  const events = Promise.all([heard(ada, "news"), heard(bob, "news")]);
  const sent = await server.trigger("private-room", "news", { text: "grüße" });
  const whispered = heard(bob, "client-typing");
  ada.trigger("client-typing", { by: "ada" });
  console.log(JSON.stringify({ status: sent.status, events: await events, whispered: await whispered }));
  process.exit(0);
}

main().catch((error) => {
  console.log(JSON.stringify({ error }, Object.getOwnPropertyNames(error)));
  process.exit(1);
});
