// The npm package oidc-provider as a test server: node oidc_server.mjs PACKAGE_FOLDER REDIRECT_URI...
// METHODS in the environment: how clients may prove who they are.
// Prints its issuer once it listens, and ends with its standard input.  Whoever logs in is believed.
import crypto from "node:crypto";
import http from "node:http";
import { pathToFileURL } from "node:url";

globalThis.crypto ??= crypto.webcrypto; // Node.js 18 keeps it there only
const [folder, ...redirectUris] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`));

const key = (type, options, kid) => ({ ...crypto.generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), kid, use: "sig" });
const client = (id, algorithm, method, secret) => ({
  client_id: id,
  ...(secret && { client_secret: secret }),
  redirect_uris: redirectUris,
  grant_types: ["authorization_code"],
  response_types: ["code"],
  token_endpoint_auth_method: method,
  id_token_signed_response_alg: algorithm,
});
const methods = (process.env.METHODS ?? "none client_secret_basic client_secret_post").split(" ");
const SECRET = "a secret: with + and % &"; // what Basic must encode

const server = http.createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client("public", "RS256", "none"),
      client("ec", "ES256", "none"),
      client("pss", "PS256", "none"),
      client("ed", "EdDSA", "none"),
      client("basic", "RS256", "client_secret_basic", SECRET),
      client("post", "RS256", "client_secret_post", SECRET),
    ].filter((each) => methods.includes(each.token_endpoint_auth_method)),
    clientAuthMethods: methods,
    jwks: {
      keys: [key("rsa", { modulusLength: 2048 }, "r"), key("ec", { namedCurve: "P-256" }, "e"), key("ed25519", {}, "d")],
    },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA", "HS256"] },
    claims: { openid: ["sub"], profile: ["preferred_username"] },
    conformIdTokenClaims: false, // as most providers do: the claims of the scope are in the id_token
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id }) }),
    cookies: { keys: [crypto.randomUUID()] },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.on("end", () => process.exit()).resume();
