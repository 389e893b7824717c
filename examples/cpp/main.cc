// A client of a Modelward server in C++: resolve a version, watch changes, assign variants, record outcomes, score.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "assignment.h"
#include "errors.h"
#include "modelward/v1/comparison.grpc.pb.h"
#include "modelward/v1/drift.grpc.pb.h"
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

void Print(const mw::ModelEvent& event) {
  if (event.has_state())
    std::cout << "state " << event.model() << " production " << event.state().production_version() << std::endl;
  else if (event.has_transition())
    std::cout << "transition " << event.model() << "/" << event.transition().version().version() << " "
              << mw::Stage_Name(event.transition().to()) << std::endl;
  else
    std::cout << "event " << event.event_case() << " " << event.model() << std::endl;
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

// score MODEL NAME=VALUE...: what the version in production predicts for one row.
void Score(const Channel& channel, const Arguments& given) {
  mw::ScoringService::Stub stub(channel);
  mw::ScoreRequest request;
  request.set_model(given.at(0));
  for (std::size_t i = 1; i < given.size(); ++i) {
    const auto equals = given[i].find('=');
    mw::Column* column = request.mutable_columns()->add_columns();
    column->set_name(given[i].substr(0, equals));
    column->mutable_doubles()->add_values(std::stod(given[i].substr(equals + 1)));
  }
  const auto scores = Call(stub, &mw::ScoringService::Stub::Score, request).scores(0);
  std::cout << scores.version().model() << "/" << scores.version().version();
  for (const double number : scores.numbers()) std::cout << " " << number;
  for (const double probability : scores.probabilities()) std::cout << " " << probability;
  std::cout << std::endl;
}

const std::map<std::string, std::function<void(const Channel&, const Arguments&)>> kCommands = {
    {"resolve", Resolve}, {"watch", Watch},   {"bucket", Bucket}, {"namespace", Namespace},
    {"assign", AssignBoth}, {"outcome", Outcome}, {"record", Record},
    {"score", Score},
};

int main(int argc, char** argv) {
  if (argc < 3 || kCommands.count(argv[2]) == 0) {
    std::cerr << "usage: modelward-example HOST:PORT resolve|watch|bucket|namespace|assign|outcome|record|score ARGUMENT...\n";
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
