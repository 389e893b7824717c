// A client of a Modelward server in C++: resolve, watch changes, answer drills, assign variants, record, score.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "assignment.h"
#include "errors.h"
#include "modelward/v1/comparison.grpc.pb.h"
#include "modelward/v1/drift.grpc.pb.h"
#include "modelward/v1/governance.grpc.pb.h"
#include "modelward/v1/lifecycle.grpc.pb.h"
#include "modelward/v1/scoring.grpc.pb.h"

namespace mw = modelward::v1;
using Arguments = std::vector<std::string>;
using Channel = std::shared_ptr<grpc::Channel>;

constexpr auto kTimeout = std::chrono::seconds(10);

// Makes a unary call with a deadline; without one, a call to an unreachable server would never end.
template <typename Stub, typename Request, typename Response>
Response Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  Response response;
  Check((stub.*method)(&context, request, &response));
  return response;
}

// resolve MODEL: the version in production.
void Resolve(const Channel& channel, const Arguments& given) {
  mw::LifecycleService::Stub stub(channel);
  mw::ResolveModelRequest request;
  request.set_model(given.at(0));
  request.set_stage(mw::STAGE_PRODUCTION);
  const auto version = Call(stub, &mw::LifecycleService::Stub::ResolveModel, request).version();
  std::cout << version.model() << "/" << version.version() << " " << version.digest() << std::endl;
}

// Writes a line at once: an engine prints from two threads.
void PrintLine(const std::ostringstream& line) { std::cout << line.str() + "\n" << std::flush; }

void Print(const mw::ModelEvent& event) {
  std::ostringstream line;
  if (event.has_state())
    line << "state " << event.model() << " production " << event.state().production_version();
  else if (event.has_transition())
    line << "transition " << event.model() << "/" << event.transition().version().version() << " "
         << mw::Stage_Name(event.transition().to());
  else
    line << "event " << event.event_case() << " " << event.model();
  PrintLine(line);
}

// watch MODEL COUNT: prints COUNT changes as they happen, and resumes after a loss of the connection.
void Watch(const Channel& channel, const Arguments& given) {
  mw::LifecycleService::Stub stub(channel);
  mw::WatchModelsRequest request;
  request.add_models(given.at(0));
  for (int left = std::stoi(given.at(1)); left > 0;) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    const auto stream = stub.WatchModels(&context, request);
    mw::WatchModelsResponse response;
    while (left > 0 && stream->Read(&response)) {
      for (const mw::ModelEvent& event : response.events()) {
        if (left == 0) break;
        Print(event);
        request.set_resume_token(event.resume_token());
        --left;
      }
    }
    if (left == 0) context.TryCancel();
    const grpc::Status status = stream->Finish();
    if (left > 0 && status.error_code() != grpc::StatusCode::UNAVAILABLE) Check(status);
  }
}

// Returns the next drill of a model that runs.
mw::Drill NextDrill(const Channel& channel, const std::string& model) {
  mw::LifecycleService::Stub stub(channel);
  mw::WatchModelsRequest request;
  request.add_models(model);
  grpc::ClientContext context;
  const auto stream = stub.WatchModels(&context, request);
  for (mw::WatchModelsResponse response; stream->Read(&response);) {
    for (const mw::ModelEvent& event : response.events()) {
      if (!event.has_drill() || event.drill().has_ended_at()) continue;
      context.TryCancel();
      stream->Finish();
      return event.drill();
    }
  }
  throw CallFailed(stream->Finish());
}

// drill MODEL ENGINE: answers the next drill of the model for an engine that reports under this name.
void AnswerDrill(const Channel& channel, const Arguments& given) {
  const mw::Drill drill = NextDrill(channel, given.at(0));
  const auto received = std::chrono::steady_clock::now();
  mw::GovernanceService::Stub stub(channel);
  mw::AnswerDrillRequest request;
  request.set_drill_id(drill.drill_id());
  request.set_engine(given.at(1));
  // An engine does here what it does at `halted`, up to the point where it would stop.
  const auto stopped = std::chrono::steady_clock::now() - received;
  request.mutable_stopped_after()->set_nanos(
      static_cast<int>(std::chrono::duration_cast<std::chrono::nanoseconds>(stopped).count()));
  Call(stub, &mw::GovernanceService::Stub::AnswerDrill, request);
  std::cout << "answered " << drill.drill_id() << std::endl;
}

// bucket SALT UNIT COVERAGE WEIGHT...: the bucket and the variant's index, computed locally.
void Bucket(const Channel&, const Arguments& given) {
  std::vector<double> weights;
  for (std::size_t i = 3; i < given.size(); ++i) weights.push_back(std::stod(given[i]));
  const int bucket = BucketOf(given.at(0), given.at(1));
  std::cout << bucket << " " << VariantOf(bucket, weights, std::stod(given.at(2))) << std::endl;
}

// namespace UNIT NAME FROM UNTIL: whether the unit is in this range of the namespace, computed locally.
void Namespace(const Channel&, const Arguments& given) {
  const bool inside = InNamespace(given.at(0), given.at(1), std::stod(given.at(2)), std::stod(given.at(3)));
  std::cout << std::boolalpha << inside << std::endl;
}

// assign TEST UNIT...: variant, bucket and whether the unit takes part, computed locally and by the server.
void AssignBoth(const Channel& channel, const Arguments& given) {
  mw::ComparisonService::Stub stub(channel);
  mw::GetAbTestRequest which;
  which.set_test(given.at(0));
  // An engine fetches the test once and caches it.
  const auto test = Call(stub, &mw::ComparisonService::Stub::GetAbTest, which).ab_test();
  std::cout << std::boolalpha;
  for (std::size_t i = 1; i < given.size(); ++i) {
    const Assignment here = Assign(test, given[i]);
    std::cout << "here " << test.variants(here.variant).name() << " " << here.bucket << " " << here.in_test << std::endl;
    mw::AssignVariantRequest request;
    request.set_test(given[0]);
    request.set_unit(given[i]);
    const auto said = Call(stub, &mw::ComparisonService::Stub::AssignVariant, request);
    std::cout << "server " << said.variant().name() << " " << said.bucket() << " " << said.in_test() << std::endl;
  }
}

// outcome TEST OUTCOME_ID UNIT METRIC VALUE: records an outcome of a unit.
void Outcome(const Channel& channel, const Arguments& given) {
  mw::ComparisonService::Stub stub(channel);
  mw::RecordAbOutcomesRequest request;
  request.set_test(given.at(0));
  mw::AbOutcome* outcome = request.add_outcomes();
  outcome->set_outcome_id(given.at(1));
  outcome->set_unit(given.at(2));
  (*outcome->mutable_metrics())[given.at(3)] = std::stod(given.at(4));
  const auto response = Call(stub, &mw::ComparisonService::Stub::RecordAbOutcomes, request);
  std::cout << "recorded " << response.recorded() << " repeated " << response.repeated_ids() << std::endl;
}

// record MODEL VERSION PREDICTION_ID PREDICTION LABEL: records a prediction and its label.
void Record(const Channel& channel, const Arguments& given) {
  mw::DriftService::Stub stub(channel);
  mw::RecordOutcomesRequest request;
  request.mutable_version()->set_model(given.at(0));
  request.mutable_version()->set_version(std::stoi(given.at(1)));
  mw::Outcome* outcome = request.add_outcomes();
  outcome->set_prediction_id(given.at(2));
  outcome->set_prediction(std::stod(given.at(3)));
  outcome->set_label(std::stod(given.at(4)));
  const auto response = Call(stub, &mw::DriftService::Stub::RecordOutcomes, request);
  std::cout << "predictions " << response.predictions() << " labels " << response.labels() << std::endl;
}

// Prints what the version in production predicts for one row, given as NAME=VALUE...
void ScoreRow(mw::ScoringService::Stub& stub, const std::string& model, const Arguments& values) {
  mw::ScoreRequest request;
  request.set_model(model);
  for (const std::string& value : values) {
    const auto equals = value.find('=');
    mw::Column* column = request.mutable_columns()->add_columns();
    column->set_name(value.substr(0, equals));
    column->mutable_doubles()->add_values(std::stod(value.substr(equals + 1)));
  }
  const auto scores = Call(stub, &mw::ScoringService::Stub::Score, request).scores(0);
  std::ostringstream line;
  line << scores.version().model() << "/" << scores.version().version();
  for (const double number : scores.numbers()) line << " " << number;
  for (const double probability : scores.probabilities()) line << " " << probability;
  PrintLine(line);
}

// score MODEL NAME=VALUE...: what the version in production predicts for one row.
void Score(const Channel& channel, const Arguments& given) {
  mw::ScoringService::Stub stub(channel);
  ScoreRow(stub, given.at(0), Arguments(given.begin() + 1, given.end()));
}

// engine MODEL: scores each tick, a line NAME=VALUE... of the input, and prints changes of the model as they happen.
void Engine(const Channel& channel, const Arguments& given) {
  const std::string model = given.at(0);
  std::thread([channel, model] {
    try {
      Watch(channel, {model, std::to_string(std::numeric_limits<int>::max())});
    } catch (const CallFailed& failed) {
      Explain(failed.status, std::cerr);
    }
    std::_Exit(1);  // An engine that is not told of changes must not go on.
  }).detach();
  mw::ScoringService::Stub stub(channel);
  for (std::string tick; std::getline(std::cin, tick);) {
    std::istringstream words(tick);
    ScoreRow(stub, model, Arguments(std::istream_iterator<std::string>(words), {}));
  }
  std::_Exit(0);  // The watch still runs.
}

const std::map<std::string, std::function<void(const Channel&, const Arguments&)>> kCommands = {
    {"resolve", Resolve},     {"watch", Watch},       {"drill", AnswerDrill}, {"bucket", Bucket}, {"namespace", Namespace},
    {"assign", AssignBoth}, {"outcome", Outcome}, {"record", Record},     {"score", Score},   {"engine", Engine},
};

int main(int argc, char** argv) {
  if (argc < 3 || kCommands.count(argv[2]) == 0) {
    std::cerr << "usage: modelward-example HOST:PORT "
                 "resolve|watch|drill|bucket|namespace|assign|outcome|record|score|engine ARGUMENT...\n";
    return 2;
  }
  try {
    const auto channel = grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials());
    kCommands.at(argv[2])(channel, Arguments(argv + 3, argv + argc));
    return 0;
  } catch (const CallFailed& failed) {
    Explain(failed.status, std::cerr);
    return 1;
  } catch (const std::logic_error&) {  // An argument is missing or not a number.
    std::cerr << "main.cc says which arguments each command takes\n";
    return 2;
  }
}
