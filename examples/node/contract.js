// The contract, loaded from Modelward's descriptor set: no generated code and no other proto is needed.
// With this loader, a map is a list of { key, value }.
import { readFileSync } from "node:fs";

import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const DESCRIPTORS = process.env.MODELWARD_DESCRIPTORS ?? new URL("../../protos/modelward.binpb", import.meta.url);
const TIMEOUT_MS = 10_000;

export const definition = loader.loadFileDescriptorSetFromBuffer(readFileSync(DESCRIPTORS), {
  keepCase: true,
  longs: String, // 64-bit integers do not fit into a JavaScript number.
  enums: String,
  oneofs: true,
  arrays: true,
  objects: true,
  defaults: true,
});
const { modelward } = grpc.loadPackageDefinition(definition);

/** Connect to one of the services, such as "LifecycleService". */
export function connect(target, service) {
  return new modelward.v1[service](target, grpc.credentials.createInsecure());
}

/** Make a unary call with a deadline; without one, a call to an unreachable server would never end. */
export function call(client, method, request) {
  const deadline = Date.now() + TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}
