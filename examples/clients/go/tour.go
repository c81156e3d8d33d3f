// A tour of SQS with aws-sdk-go-v2: go run tour.go [NAME]
//
// Reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. Versions of the SDK from 2024 on
// read the endpoint themselves; then the resolver below can go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

func main() {
	name := "tour-go"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	ctx := context.Background()
	configuration := must(config.LoadDefaultConfig(ctx))
	atGateway := sqs.WithEndpointResolver(sqs.EndpointResolverFromURL(os.Getenv("AWS_ENDPOINT_URL_SQS")))
	client := sqs.NewFromConfig(configuration, atGateway)

	// Queues: what fails twice goes to the dead-letter queue.
	dead := must(client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + "-dead")})).QueueUrl
	found := must(client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: dead, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	}))
	policy := fmt.Sprintf(`{"deadLetterTargetArn":"%s","maxReceiveCount":"2"}`, found.Attributes["QueueArn"])
	queue := must(client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String(name), Attributes: map[string]string{"RedrivePolicy": policy},
	})).QueueUrl
	fifo := must(client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String(name + ".fifo"), Attributes: map[string]string{"FifoQueue": "true"},
	})).QueueUrl

	receive := func(queue *string, most, wait int32) []types.Message {
		return must(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: queue, MaxNumberOfMessages: most, WaitTimeSeconds: wait, MessageAttributeNames: []string{"All"},
		})).Messages
	}
	setVisible := func(queue *string, message types.Message, seconds int32) {
		must(client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: queue, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout: seconds,
		}))
	}

	// Send, with attributes. It is visible in a second: the receive is a long poll.
	attributes := map[string]types.MessageAttributeValue{
		"language": {DataType: aws.String("String"), StringValue: aws.String("Go")},
		"digest":   {DataType: aws.String("Binary"), BinaryValue: []byte{0, 255}},
	}
	must(client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: queue, MessageBody: aws.String("hello, wörld"), DelaySeconds: 1, MessageAttributes: attributes,
	}))
	message := receive(queue, 1, 20)[0]
	check("hello, wörld", *message.Body)
	check("Go", *message.MessageAttributes["language"].StringValue)
	check("\x00\xff", string(message.MessageAttributes["digest"].BinaryValue))

	// Extend: it is ours for ten minutes from now on. Then it is done.
	setVisible(queue, message, 600)
	must(client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: message.ReceiptHandle}))

	// A batch: the answer says which entries failed.
	sent := must(client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{
		QueueUrl: queue, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("a"), MessageBody: aws.String("one")},
			{Id: aws.String("b"), MessageBody: aws.String("two"), DelaySeconds: 901},
		},
	}))
	check("a b", *sent.Successful[0].Id+" "+*sent.Failed[0].Id)
	message = receive(queue, 10, 20)[0]
	must(client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{
		QueueUrl: queue,
		Entries:  []types.DeleteMessageBatchRequestEntry{{Id: aws.String("a"), ReceiptHandle: message.ReceiptHandle}},
	}))

	// A dead letter: received and given back twice.
	must(client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: queue, MessageBody: aws.String("broken"), MessageAttributes: attributes,
	}))
	for n := 0; n < 2; n++ {
		setVisible(queue, receive(queue, 1, 20)[0], 0)
	}
	check("0", fmt.Sprint(len(receive(queue, 1, 0))))
	letter := receive(dead, 1, 20)[0]
	check("broken", *letter.Body)
	setVisible(dead, letter, 0)

	// FIFO: in order for each group, and a repeated send is recognised.
	for _, body := range []string{"first", "second", "second", "third"} {
		must(client.SendMessage(ctx, &sqs.SendMessageInput{
			QueueUrl: fifo, MessageBody: aws.String(body),
			MessageGroupId: aws.String("order-1"), MessageDeduplicationId: aws.String(body),
		}))
	}
	var bodies []string
	for _, message := range receive(fifo, 10, 20) {
		bodies = append(bodies, *message.Body)
		must(client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: fifo, ReceiptHandle: message.ReceiptHandle}))
	}
	check("first second third", strings.Join(bodies, " "))

	// A wrong key is refused.
	configuration.Credentials = credentials.NewStaticCredentialsProvider("AKIAWRONGKEY", "wrong", "")
	_, err := sqs.NewFromConfig(configuration, atGateway).SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: queue, MessageBody: aws.String("nobody may read this"),
	})
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		log.Fatalf("a wrong key was accepted: %v", err)
	}
	check("InvalidClientTokenId", refused.ErrorCode())

	fmt.Println("go: done")
}

func must[T any](result T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return result
}

func check(wanted, got string) {
	if wanted != got {
		log.Fatalf("wanted %q, got %q", wanted, got)
	}
}
