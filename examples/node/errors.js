// Details of a failed call: the reason, its metadata, and the invalid fields.
import { definition } from "./contract.js";

const DETAILS = "grpc-status-details-bin";

/** Return the details of a failed call as [full name of the message, message]. */
export function detailsOf(error) {
  const [trailer] = error.metadata?.get(DETAILS) ?? [];
  if (!trailer) return [];
  const { details } = definition["google.rpc.Status"].deserialize(trailer);
  return details.map(unpack);
}

function unpack({ type_url: url, value }) {
  const name = url.slice(url.lastIndexOf("/") + 1);
  return [name, definition[name]?.deserialize(value)];
}

/** Return lines that describe the error. */
export function explain(error) {
  const lines = [`status: ${error.code} ${error.details}`];
  for (const [name, detail] of detailsOf(error)) {
    if (name === "google.rpc.ErrorInfo") {
      lines.push(`reason: ${detail.reason}`);
      for (const { key, value } of detail.metadata) lines.push(`fact: ${key}=${value}`);
    } else if (name === "google.rpc.BadRequest") {
      for (const { field, description } of detail.field_violations) lines.push(`field: ${field}: ${description}`);
    }
  }
  return lines.join("\n");
}
