#!/bin/sh
# Alarms and metrics with the AWS CLI: sh cloudwatch.sh [NAME]
#
# The gateway that answers SQS answers CloudWatch, too. Version 2 reads AWS_ENDPOINT_URL_CLOUDWATCH; here the endpoint is
# an option, which both versions take.
set -eu
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL_SQS" "$@"; }
name=${1:-tour-cloudwatch}
export AWS_DEFAULT_OUTPUT=text AWS_PAGER=

expect() { # WANTED GOT
    [ "$1" = "$2" ] || { echo "wanted: $1" >&2; echo "got:    $2" >&2; exit 1; }
}

aws sqs create-queue --queue-name "$name" >/dev/null

# An alarm: the oldest message has waited for more than five minutes.
aws cloudwatch put-metric-alarm --alarm-name "$name-late" --namespace AWS/SQS \
    --metric-name ApproximateAgeOfOldestMessage --dimensions "Name=QueueName,Value=$name" \
    --statistic Maximum --period 60 --evaluation-periods 3 --datapoints-to-alarm 2 \
    --threshold 300 --comparison-operator GreaterThanThreshold --treat-missing-data notBreaching \
    --tags Key=team,Value=web
aws cloudwatch put-composite-alarm --alarm-name "$name-any" --alarm-rule "ALARM($name-late)"
aws cloudwatch wait alarm-exists --alarm-names "$name-late"
aws cloudwatch wait composite-alarm-exists --alarm-names "$name-any" --alarm-types CompositeAlarm

expect "INSUFFICIENT_DATA 300.0" "$(aws cloudwatch describe-alarms --alarm-names "$name-late" \
    --query 'MetricAlarms[0].[StateValue,Threshold]' | tr '\t' ' ')"
arn=$(aws cloudwatch describe-alarms --alarm-names "$name-late" --query 'MetricAlarms[0].AlarmArn')
expect "team web" "$(aws cloudwatch list-tags-for-resource --resource-arn "$arn" \
    --query 'Tags[0].[Key,Value]' | tr '\t' ' ')"
expect "$name-late" "$(aws cloudwatch describe-alarms-for-metric --namespace AWS/SQS \
    --metric-name ApproximateAgeOfOldestMessage --dimensions "Name=QueueName,Value=$name" \
    --query 'MetricAlarms[].AlarmName')"

# Try what happens in an alarm, without one.
aws cloudwatch disable-alarm-actions --alarm-names "$name-late"
aws cloudwatch set-alarm-state --alarm-name "$name-late" --state-value ALARM --state-reason "a drill"
expect "ALARM a drill" "$(aws cloudwatch describe-alarms --alarm-names "$name-late" \
    --query 'MetricAlarms[0].[StateValue,StateReason]' | tr '\t' ' ')"
expect "Alarm updated from INSUFFICIENT_DATA to ALARM" "$(aws cloudwatch describe-alarm-history \
    --alarm-name "$name-late" --history-item-type StateUpdate --query 'AlarmHistoryItems[0].HistorySummary')"
aws cloudwatch enable-alarm-actions --alarm-names "$name-late"

# Metrics: one point a minute, from when something samples them (docs/metrics.md).
now=$(date +%s)
aws cloudwatch list-metrics --namespace AWS/SQS --dimensions "Name=QueueName,Value=$name" >/dev/null
aws cloudwatch get-metric-statistics --namespace AWS/SQS --metric-name NumberOfMessagesSent \
    --dimensions "Name=QueueName,Value=$name" --statistics Sum --period 60 \
    --start-time "$((now - 600))" --end-time "$now" >/dev/null
expect Complete "$(aws cloudwatch get-metric-data --start-time "$((now - 600))" --end-time "$now" \
    --metric-data-queries "$(printf '[{"Id":"sent","MetricStat":{"Stat":"Sum","Period":60,"Metric":{
        "Namespace":"AWS/SQS","MetricName":"NumberOfMessagesSent",
        "Dimensions":[{"Name":"QueueName","Value":"%s"}]}}}]' "$name")" \
    --query 'MetricDataResults[0].StatusCode')"

# What is not there says so.
! aws cloudwatch put-metric-data --namespace Shop --metric-name Orders --value 1 2>error.txt
grep -q "PutMetricData of CloudWatch is not supported here" error.txt
rm error.txt

aws cloudwatch delete-alarms --alarm-names "$name-any"
aws cloudwatch delete-alarms --alarm-names "$name-late"
expect "" "$(aws cloudwatch describe-alarms --alarm-name-prefix "$name" --query 'MetricAlarms[].AlarmName')"
aws sqs delete-queue --queue-url "$name"
echo "awscli: done"
