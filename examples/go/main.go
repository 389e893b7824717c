// A client of a Modelward server in Go: resolve a version, watch changes, assign variants, record outcomes.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mw "modelward.example/modelwardv1"
)

// Without a deadline, a call to an unreachable server would never end.
const timeout = 10 * time.Second

func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeout)
}

// resolve MODEL: the version in production.
func resolve(channel *grpc.ClientConn, given []string) error {
	ctx, cancel := deadline()
	defer cancel()
	which := &mw.ResolveModelRequest_Stage{Stage: mw.Stage_STAGE_PRODUCTION}
	request := &mw.ResolveModelRequest{Model: given[0], Selector: which}
	found, err := mw.NewLifecycleServiceClient(channel).ResolveModel(ctx, request)
	if err != nil {
		return err
	}
	version := found.GetVersion()
	fmt.Printf("%s/%d %s\n", version.GetModel(), version.GetVersion(), version.GetDigest())
	return nil
}

func describe(event *mw.ModelEvent) string {
	switch of := event.GetEvent().(type) {
	case *mw.ModelEvent_State:
		return fmt.Sprintf("state %s production %d", event.GetModel(), of.State.GetProductionVersion())
	case *mw.ModelEvent_Transition:
		moved := of.Transition
		return fmt.Sprintf("transition %s/%d %s", event.GetModel(), moved.GetVersion().GetVersion(), moved.GetTo())
	default:
		return fmt.Sprintf("event %T %s", of, event.GetModel())
	}
}

// watch MODEL COUNT: prints COUNT changes as they happen, and resumes after a loss of the connection.
func watch(channel *grpc.ClientConn, given []string) error {
	left, err := strconv.Atoi(given[1])
	request := &mw.WatchModelsRequest{Models: []string{given[0]}}
	for err == nil && left > 0 {
		left, err = follow(channel, request, left)
		if status.Code(err) == codes.Unavailable {
			err = nil
		}
	}
	return err
}

// follow prints changes until the stream ends, and returns the number of remaining changes.
func follow(channel *grpc.ClientConn, request *mw.WatchModelsRequest, left int) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := mw.NewLifecycleServiceClient(channel).WatchModels(ctx, request, grpc.WaitForReady(true))
	for err == nil {
		var came *mw.WatchModelsResponse
		if came, err = stream.Recv(); err != nil {
			break
		}
		for _, event := range came.GetEvents() {
			fmt.Println(describe(event))
			request.ResumeToken = event.GetResumeToken()
			if left--; left == 0 {
				return 0, nil
			}
		}
	}
	return left, err
}

// bucket SALT UNIT COVERAGE WEIGHT...: the bucket and the variant's index, computed locally.
func bucket(_ *grpc.ClientConn, given []string) error {
	numbers, err := parsed(given[2:])
	if err != nil {
		return err
	}
	found := bucketOf(given[0], given[1])
	fmt.Println(found, variantOf(found, numbers[1:], numbers[0]))
	return nil
}

// namespace UNIT NAME FROM UNTIL: whether the unit is in this range of the namespace, computed locally.
func namespace(_ *grpc.ClientConn, given []string) error {
	numbers, err := parsed(given[2:])
	if err != nil {
		return err
	}
	fmt.Println(inNamespace(given[0], given[1], numbers[0], numbers[1]))
	return nil
}

func parsed(texts []string) ([]float64, error) {
	numbers := make([]float64, len(texts))
	for index, text := range texts {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		numbers[index] = number
	}
	return numbers, nil
}

// assign TEST UNIT...: variant, bucket and whether the unit takes part, computed locally and by the server.
func assign(channel *grpc.ClientConn, given []string) error {
	ctx, cancel := deadline()
	defer cancel()
	comparison := mw.NewComparisonServiceClient(channel)
	// An engine fetches the test once and caches it.
	kept, err := comparison.GetAbTest(ctx, &mw.GetAbTestRequest{Test: given[0]})
	if err != nil {
		return err
	}
	for _, unit := range given[1:] {
		here := assignmentOf(kept.GetAbTest(), unit)
		fmt.Println("here", here.variant.GetName(), here.bucket, here.inTest)
		said, err := comparison.AssignVariant(ctx, &mw.AssignVariantRequest{Test: given[0], Unit: unit})
		if err != nil {
			return err
		}
		fmt.Println("server", said.GetVariant().GetName(), said.GetBucket(), said.GetInTest())
	}
	return nil
}

// outcome TEST OUTCOME_ID UNIT METRIC VALUE: records an outcome of a unit.
func outcome(channel *grpc.ClientConn, given []string) error {
	value, err := strconv.ParseFloat(given[4], 64)
	if err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	came := &mw.AbOutcome{OutcomeId: given[1], Unit: given[2], Metrics: map[string]float64{given[3]: value}}
	request := &mw.RecordAbOutcomesRequest{Test: given[0], Outcomes: []*mw.AbOutcome{came}}
	recorded, err := mw.NewComparisonServiceClient(channel).RecordAbOutcomes(ctx, request)
	if err != nil {
		return err
	}
	fmt.Println("recorded", recorded.GetRecorded(), "repeated", recorded.GetRepeatedIds())
	return nil
}

// record MODEL VERSION PREDICTION_ID PREDICTION LABEL: records a prediction and its label.
func record(channel *grpc.ClientConn, given []string) error {
	version, err := strconv.ParseInt(given[1], 10, 32)
	if err != nil {
		return err
	}
	numbers, err := parsed(given[3:])
	if err != nil {
		return err
	}
	ctx, cancel := deadline()
	defer cancel()
	came := &mw.Outcome{PredictionId: given[2], Prediction: &numbers[0], Label: &numbers[1]}
	which := &mw.ModelVersionRef{Model: given[0], Version: int32(version)}
	request := &mw.RecordOutcomesRequest{Version: which, Outcomes: []*mw.Outcome{came}}
	recorded, err := mw.NewDriftServiceClient(channel).RecordOutcomes(ctx, request)
	if err != nil {
		return err
	}
	fmt.Println("predictions", recorded.GetPredictions(), "labels", recorded.GetLabels())
	return nil
}

var commands = map[string]struct {
	run   func(*grpc.ClientConn, []string) error
	takes int
}{
	"resolve": {resolve, 1}, "watch": {watch, 2}, "bucket": {bucket, 4}, "namespace": {namespace, 4},
	"assign": {assign, 2}, "outcome": {outcome, 5}, "record": {record, 5},
}

func main() {
	if len(os.Args) < 3 || len(os.Args)-3 < commands[os.Args[2]].takes || commands[os.Args[2]].run == nil {
		fmt.Fprintln(os.Stderr, "usage: modelward-example HOST:PORT COMMAND ARGUMENT...; main.go has the commands")
		os.Exit(2)
	}
	channel, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err == nil {
		err = commands[os.Args[2]].run(channel, os.Args[3:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, explain(err))
		os.Exit(1)
	}
}
