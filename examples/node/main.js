// A client of a Modelward server in Node: resolve a version, watch changes, answer drills, assign, record, score.
import grpc from "@grpc/grpc-js";

import { assignmentOf, bucketOf, inNamespace, variantOf } from "./assignment.js";
import { call, connect } from "./contract.js";
import { explain } from "./errors.js";

/** resolve MODEL: the version in production. */
async function resolve(target, model) {
  const client = connect(target, "LifecycleService");
  const { version } = await call(client, "ResolveModel", { model, stage: "STAGE_PRODUCTION" });
  console.log(`${version.model}/${version.version} ${version.digest}`);
}

function describe(event) {
  if (event.event === "state") return `state ${event.model} production ${event.state.production_version}`;
  if (event.event === "transition") {
    return `transition ${event.model}/${event.transition.version.version} ${event.transition.to}`;
  }
  return `event ${event.event} ${event.model}`;
}

/** watch MODEL COUNT: prints COUNT changes as they happen, and resumes after a loss of the connection. */
async function watch(target, model, count) {
  const client = connect(target, "LifecycleService");
  const request = { models: [model], resume_token: "" };
  for (let left = Number(count); left > 0; ) {
    const stream = client.WatchModels(request, new grpc.Metadata({ waitForReady: true }));
    try {
      for await (const { events } of stream) {
        for (const event of events.slice(0, left)) {
          console.log(describe(event));
          request.resume_token = event.resume_token;
          left -= 1;
        }
        if (left === 0) stream.cancel();
      }
    } catch (error) {
      if (left > 0 && error.code !== grpc.status.UNAVAILABLE) throw error;
    }
  }
  client.close();
}

/** drill MODEL ENGINE: answers the next drill of the model for an engine that reports under this name. */
async function drill(target, model, engine) {
  const watching = connect(target, "LifecycleService");
  const { drill_id, received } = await nextDrill(watching.WatchModels({ models: [model] }));
  watching.close();
  // An engine does here what it does at `halted`, up to the point where it would stop.
  const stopped_after = { seconds: 0, nanos: Math.round((performance.now() - received) * 1e6) };
  await call(connect(target, "GovernanceService"), "AnswerDrill", { drill_id, engine, stopped_after });
  console.log(`answered ${drill_id}`);
}

/** Return the id of the next drill that runs, and when it was received. */
function nextDrill(stream) {
  return new Promise((resolve, reject) => {
    stream.on("error", reject); // Cancelling is an error too, which comes when the promise is settled.
    stream.on("data", ({ events }) => {
      const found = events.find(({ event, drill }) => event === "drill" && !drill.ended_at);
      if (!found) return;
      resolve({ drill_id: found.drill.drill_id, received: performance.now() });
      stream.cancel();
    });
  });
}

/** bucket SALT UNIT COVERAGE WEIGHT...: the bucket and the variant's index, computed locally. */
function bucket(_target, salt, unit, coverage, ...weights) {
  const found = bucketOf(salt, unit);
  console.log(`${found} ${variantOf(found, weights.map(Number), Number(coverage))}`);
}

/** namespace UNIT NAME FROM UNTIL: whether the unit is in this range of the namespace, computed locally. */
function namespace(_target, unit, name, from, until) {
  console.log(inNamespace(unit, name, Number(from), Number(until)));
}

/** assign TEST UNIT...: variant, bucket and whether the unit takes part, computed locally and by the server. */
async function assign(target, test, ...units) {
  const client = connect(target, "ComparisonService");
  const { ab_test: kept } = await call(client, "GetAbTest", { test }); // An engine fetches it once and caches it.
  for (const unit of units) {
    const here = assignmentOf(kept, unit);
    console.log(`here ${here.variant.name} ${here.bucket} ${here.inTest}`);
    const said = await call(client, "AssignVariant", { test, unit });
    console.log(`server ${said.variant.name} ${said.bucket} ${said.in_test}`);
  }
}

/** outcome TEST OUTCOME_ID UNIT METRIC VALUE: records an outcome of a unit. */
async function outcome(target, test, id, unit, metric, value) {
  const client = connect(target, "ComparisonService");
  const outcomes = [{ outcome_id: id, unit, metrics: [{ key: metric, value: Number(value) }] }];
  const { recorded, repeated_ids: repeated } = await call(client, "RecordAbOutcomes", { test, outcomes });
  console.log(`recorded ${recorded} repeated ${repeated}`);
}

/** record MODEL VERSION PREDICTION_ID PREDICTION LABEL: records a prediction and its label. */
async function record(target, model, version, id, prediction, label) {
  const client = connect(target, "DriftService");
  const outcomes = [{ prediction_id: id, prediction: Number(prediction), label: Number(label) }];
  const request = { version: { model, version: Number(version) }, outcomes };
  const { predictions, labels } = await call(client, "RecordOutcomes", request);
  console.log(`predictions ${predictions} labels ${labels}`);
}

/** score MODEL NAME=VALUE...: what the version in production predicts for one row. */
async function score(target, model, ...values) {
  const client = connect(target, "ScoringService");
  const columns = values.map((value) => value.split("=")).map(([name, number]) => {
    return { name, doubles: { values: [Number(number)] } };
  });
  const { scores } = await call(client, "Score", { model, columns: { columns } });
  const [{ version, numbers, probabilities }] = scores;
  console.log([`${version.model}/${version.version}`, ...numbers, ...probabilities].join(" "));
}

const COMMANDS = { resolve, watch, drill, bucket, namespace, assign, outcome, record, score };
const [target, command, ...given] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, command ?? "")) {
  console.error(`usage: node main.js HOST:PORT ${Object.keys(COMMANDS).join("|")} ARGUMENT...`);
  process.exit(2);
}
try {
  await COMMANDS[command](target, ...given);
} catch (error) {
  if (error.code === undefined) throw error;
  console.error(explain(error));
  process.exit(1);
}
