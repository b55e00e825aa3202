// Node-RED's settings; all of them are described at https://nodered.org/docs/user-guide/runtime/configuration

// Without a hash in the playbook, no password is the right one.
const nobody = () => Promise.resolve(null);
const admin = { username: "admin", password: process.env.ADMIN_HASH, permissions: "*" };

module.exports = {
  uiHost: "127.0.0.1", // the default is every address
  uiPort: process.env.PORT,
  userDir: process.env.STATE_DIRECTORY, // flows, credentials and further nodes: /var/lib/node-red
  flowFile: "flows.json",
  credentialSecret: process.env.CREDENTIAL_SECRET || undefined, // else Node-RED makes one
  adminAuth: {
    type: "credentials",
    users: admin.password ? [admin] : [],
    ...(admin.password ? {} : { authenticate: nobody }),
  },
  httpServerOptions: { "trust proxy": "loopback" }, // req.ip and req.protocol are the visitor's
  apiMaxLength: "5mb", // of a deployment or an HTTP request; max_body is the proxy's limit
  webSocketKeepAliveTime: 15000,
};
