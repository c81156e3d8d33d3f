#!/bin/sh
# A tour of SQS with the AWS CLI: sh tour.sh [NAME]
#
# aws reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION. Version 2 reads AWS_ENDPOINT_URL_SQS, too;
# version 1 does not for SQS in many regions, us-east-1 among them, so the endpoint is an option here.
set -eu
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL_SQS" "$@"; }
name=${1:-tour-awscli}
export AWS_DEFAULT_OUTPUT=text AWS_PAGER=

expect() { # WANTED GOT
    [ "$1" = "$2" ] || { echo "wanted: $1" >&2; echo "got:    $2" >&2; exit 1; }
}

# Queues: what fails twice goes to the dead-letter queue.
dead=$(aws sqs create-queue --queue-name "$name-dead" --query QueueUrl)
arn=$(aws sqs get-queue-attributes --queue-url "$dead" --attribute-names QueueArn --query Attributes.QueueArn)
policy="{\"deadLetterTargetArn\":\"$arn\",\"maxReceiveCount\":\"2\"}"
url=$(aws sqs create-queue --queue-name "$name" --query QueueUrl \
    --attributes "{\"RedrivePolicy\":\"$(printf %s "$policy" | sed 's/"/\\"/g')\"}")
fifo=$(aws sqs create-queue --queue-name "$name.fifo" --attributes FifoQueue=true --query QueueUrl)

# Send, with attributes. It is visible in two seconds: the receive is a long poll.
aws sqs send-message --queue-url "$url" --message-body "hello, wörld" --delay-seconds 2 \
    --message-attributes 'language={DataType=String,StringValue=Shell}' >/dev/null
message=$(aws sqs receive-message --queue-url "$url" --wait-time-seconds 20 --message-attribute-names All \
    --query 'Messages[0].[ReceiptHandle,Body,MessageAttributes.language.StringValue]' | tr '\t' '\n')
expect "hello, wörld Shell" "$(echo "$message" | sed 1d | tr '\n' ' ' | sed 's/ $//')"
handle=$(echo "$message" | head -n 1)

# Extend: it is ours for ten minutes from now on. Then it is done.
aws sqs change-message-visibility --queue-url "$url" --receipt-handle "$handle" --visibility-timeout 600
aws sqs delete-message --queue-url "$url" --receipt-handle "$handle"

# A batch: the answer says which entries failed.
expect "a b" "$(aws sqs send-message-batch --queue-url "$url" --query '[Successful[0].Id,Failed[0].Id]' \
    --entries Id=a,MessageBody=one Id=b,MessageBody=two,DelaySeconds=901 | tr '\t' ' ')"
handle=$(aws sqs receive-message --queue-url "$url" --wait-time-seconds 20 --query 'Messages[0].ReceiptHandle')
expect a "$(aws sqs delete-message-batch --queue-url "$url" --query 'Successful[0].Id' \
    --entries "Id=a,ReceiptHandle=$handle")"

# A dead letter: received and given back twice.
aws sqs send-message --queue-url "$url" --message-body broken \
    --message-attributes 'language={DataType=String,StringValue=Shell}' >/dev/null
for receive in 1 2; do
    handle=$(aws sqs receive-message --queue-url "$url" --wait-time-seconds 20 --query 'Messages[0].ReceiptHandle')
    aws sqs change-message-visibility --queue-url "$url" --receipt-handle "$handle" --visibility-timeout 0
done
expect None "$(aws sqs receive-message --queue-url "$url" --query 'Messages[0].Body')"
expect broken "$(aws sqs receive-message --queue-url "$dead" --wait-time-seconds 20 --visibility-timeout 0 \
    --query 'Messages[0].Body')"

# FIFO: in order for each group, and a repeated send is recognised.
for body in first second second third; do
    aws sqs send-message --queue-url "$fifo" --message-body $body --message-group-id order-1 \
        --message-deduplication-id $body >/dev/null
done
received=$(aws sqs receive-message --queue-url "$fifo" --wait-time-seconds 20 --max-number-of-messages 10 \
    --query 'Messages[].[Body,ReceiptHandle]')
expect "first second third" "$(echo "$received" | cut -f 1 | tr '\n' ' ' | sed 's/ $//')"
echo "$received" | cut -f 2 | while read -r handle; do
    aws sqs delete-message --queue-url "$fifo" --receipt-handle "$handle"
done

# A wrong key is refused.
if refused=$(AWS_ACCESS_KEY_ID=AKIAWRONGKEY AWS_SECRET_ACCESS_KEY=wrong \
    aws sqs send-message --queue-url "$url" --message-body "nobody may read this" 2>&1); then
    echo "a wrong key was accepted" >&2
    exit 1
fi
case $refused in
    *InvalidClientTokenId*) ;;
    *) echo "$refused" >&2; exit 1 ;;
esac

echo "awscli: done"
