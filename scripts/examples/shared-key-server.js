// A server that gives out messages under a data key which it shares with its clients through the key
// service: it never sends the key itself, only its encrypted form.
//
//     node shared-key-server.js FILE        serves FILE on a port of loopback, which it prints
//
// The answer: {"wrappedKey": …, "nonce": …, "sealed": …} in base64; AES-256-GCM, tag at the end.

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const kms = require("@alicloud/kms20160120");

const client = new kms.default({
  accessKeyId: process.env.ALIBABA_CLOUD_ACCESS_KEY_ID,
  accessKeySecret: process.env.ALIBABA_CLOUD_ACCESS_KEY_SECRET,
  endpoint: process.env.ENVELOPEKMS_ENDPOINT,
  regionId: "cn-hangzhou",
  protocol: "HTTPS",
  type: "access_key",
});
const runtime = {};

// Node takes the authority of the key service from NODE_EXTRA_CA_CERTS.
async function dataKey() {
  const alias = "alias/shared";
  const aliases = await client.listAliases(new kms.ListAliasesRequest({ pageSize: 100 }), runtime);
  if (!aliases.aliases.alias.some((found) => found.aliasName === alias)) {
    const made = await client.createKey(new kms.CreateKeyRequest({ description: "shared" }), runtime);
    await client.createAlias(
      new kms.CreateAliasRequest({ aliasName: alias, keyId: made.keyMetadata.keyId }),
      runtime,
    );
  }
  const wrapped = await client.generateDataKeyWithoutPlaintext(
    new kms.GenerateDataKeyWithoutPlaintextRequest({ keyId: alias, keySpec: "AES_256" }),
    runtime,
  );
  const opened = await client.decrypt(
    new kms.DecryptRequest({ ciphertextBlob: wrapped.ciphertextBlob }),
    runtime,
  );
  return { wrapped: wrapped.ciphertextBlob, key: Buffer.from(opened.plaintext, "base64") };
}

function seal(key, plaintext) {
  const nonce = crypto.randomBytes(12);
  const cipher = crypto.createCipheriv("aes-256-gcm", key, nonce);
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return { nonce: nonce.toString("base64"), sealed: sealed.toString("base64") };
}

async function main() {
  const { wrapped, key } = await dataKey();
  const server = http.createServer((_request, response) => {
    const message = { wrappedKey: wrapped, ...seal(key, fs.readFileSync(process.argv[2])) };
    response.end(JSON.stringify(message));
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
