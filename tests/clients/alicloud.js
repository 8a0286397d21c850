// Does what its standard input asks for with @alicloud/kms20160120: a JSON object a line, an answer a line.

const readline = require("readline");
const kms = require("@alicloud/kms20160120");

const client = new kms.default({
  accessKeyId: process.env.KMS_KEY_ID,
  accessKeySecret: process.env.KMS_SECRET,
  endpoint: process.env.KMS_ADDRESS,
  regionId: "cn-hangzhou",
  protocol: "HTTPS",
  type: "access_key",
});

function operations() {
  return Object.keys(kms)
    .filter((name) => name.endsWith("Request"))
    .map((name) => name.slice(0, -"Request".length))
    .concat("DescribeRegions")
    .filter((operation) => typeof client[method(operation)] === "function");
}

function method(operation) {
  return operation[0].toLowerCase() + operation.slice(1);
}

// From the names of the wire to those of the class, as its own table has them.
function request(operation, parameters) {
  const Request = kms[operation + "Request"];
  if (!Request) return undefined;
  const names = Object.fromEntries(Object.entries(Request.names()).map(([own, wire]) => [wire, own]));
  const made = new Request({});
  for (const [wire, value] of Object.entries(parameters)) {
    if (!names[wire]) throw new Error(`${operation} has no ${wire}`);
    made[names[wire]] = value;
  }
  return made;
}

function wire(value) {
  if (Array.isArray(value)) return value.map(wire);
  if (value === null || typeof value !== "object") return value;
  const names = value.constructor.names ? value.constructor.names() : {};
  return Object.fromEntries(Object.entries(value).map(([own, inner]) => [names[own] || own, wire(inner)]));
}

async function answer(question) {
  if (question.operations) return operations();
  const { operation, parameters } = question;
  const given = request(operation, parameters);
  try {
    const made = given ? await client[method(operation)](given, {}) : await client[method(operation)]({});
    return { body: wire(made) };
  } catch (error) {
    if (!error.code && !error.data) throw error;
    const status = error.statusCode || (error.data && error.data.statusCode) || 0;
    return { code: error.code, status, message: String(error.message) };
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let told;
    try {
      told = await answer(JSON.parse(line));
    } catch (error) {
      told = { code: "ClientFailed", status: 0, message: String(error.stack || error) };
    }
    console.log(JSON.stringify(told));
  }
}

main();
