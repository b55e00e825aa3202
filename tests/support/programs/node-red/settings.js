// The settings that docs/how-to/services/node-red.md recommends.
module.exports = {
  uiHost: "127.0.0.1",
  uiPort: 1880,
  httpServerOptions: { "trust proxy": "loopback" },
  apiMaxLength: "5mb",
  adminAuth: {
    type: "credentials",
    users: [{ username: "admin", password: process.env.ADMIN_HASH, permissions: "*" }],
  },
};
