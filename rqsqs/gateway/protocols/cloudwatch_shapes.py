"""The actions of CloudWatch that rqsqs has. Made by tools/shapes.py: do not edit.

The module is long, as alarms have many attributes.
"""

from __future__ import annotations

from rqsqs.gateway.protocols.model import Action, List, Map, Scalar, Structure

STRING, INTEGER, BOOLEAN, DOUBLE = Scalar.STRING, Scalar.INTEGER, Scalar.BOOLEAN, Scalar.DOUBLE
TIMESTAMP = Scalar.TIMESTAMP

ALARM_HISTORY_ITEM = Structure(
    {
        "AlarmName": STRING,
        "AlarmContributorId": STRING,
        "AlarmType": STRING,
        "Timestamp": TIMESTAMP,
        "HistoryItemType": STRING,
        "HistorySummary": STRING,
        "HistoryData": STRING,
        "AlarmContributorAttributes": Map("entry", "key", "value", STRING, is_wrapped=True),
    }
)
ALARM_TAGS_PROPAGATION = Structure(
    {
        "Enabled": BOOLEAN,
        "IncludedTagKeys": List("member", STRING, is_wrapped=True),
        "ExcludedTagKeys": List("member", STRING, is_wrapped=True),
    }
)
ACTION_CONFIGURATION = Structure(
    {
        "AlarmTagsPropagation": ALARM_TAGS_PROPAGATION,
    }
)
COMPOSITE_ALARM = Structure(
    {
        "ActionsEnabled": BOOLEAN,
        "AlarmActions": List("member", STRING, is_wrapped=True),
        "AlarmArn": STRING,
        "AlarmConfigurationUpdatedTimestamp": TIMESTAMP,
        "AlarmDescription": STRING,
        "AlarmName": STRING,
        "AlarmRule": STRING,
        "InsufficientDataActions": List("member", STRING, is_wrapped=True),
        "OKActions": List("member", STRING, is_wrapped=True),
        "StateReason": STRING,
        "StateReasonData": STRING,
        "StateUpdatedTimestamp": TIMESTAMP,
        "StateValue": STRING,
        "StateTransitionedTimestamp": TIMESTAMP,
        "ActionsSuppressedBy": STRING,
        "ActionsSuppressedReason": STRING,
        "ActionsSuppressor": STRING,
        "ActionsSuppressorWaitPeriod": INTEGER,
        "ActionsSuppressorExtensionPeriod": INTEGER,
        "ActionConfiguration": ACTION_CONFIGURATION,
    }
)
DIMENSION = Structure(
    {
        "Name": STRING,
        "Value": STRING,
    }
)
METRIC = Structure(
    {
        "Namespace": STRING,
        "MetricName": STRING,
        "Dimensions": List("member", DIMENSION, is_wrapped=True),
    }
)
METRIC_STAT = Structure(
    {
        "Metric": METRIC,
        "Period": INTEGER,
        "Stat": STRING,
        "Unit": STRING,
    }
)
METRIC_DATA_QUERY = Structure(
    {
        "Id": STRING,
        "MetricStat": METRIC_STAT,
        "Expression": STRING,
        "Label": STRING,
        "ReturnData": BOOLEAN,
        "Period": INTEGER,
        "AccountId": STRING,
    }
)
WALL_CLOCK_WINDOW = Structure(
    {
        "Timezone": STRING,
    }
)
SLIDING_WINDOW = Structure({})
EVALUATION_WINDOW = Structure(
    {
        "WallClockWindow": WALL_CLOCK_WINDOW,
        "SlidingWindow": SLIDING_WINDOW,
    }
)
WARM_UP_CONFIGURATION = Structure(
    {
        "WarmUpPeriodDurationInMinutes": INTEGER,
        "OnlyStartEvaluatingAfterWarmUpPeriodEnds": BOOLEAN,
    }
)
ALARM_PROM_QLCRITERIA = Structure(
    {
        "Query": STRING,
        "PendingPeriod": INTEGER,
        "RecoveryPeriod": INTEGER,
    }
)
EVALUATION_CRITERIA = Structure(
    {
        "PromQLCriteria": ALARM_PROM_QLCRITERIA,
    }
)
METRIC_ALARM = Structure(
    {
        "AlarmName": STRING,
        "AlarmArn": STRING,
        "AlarmDescription": STRING,
        "AlarmConfigurationUpdatedTimestamp": TIMESTAMP,
        "ActionsEnabled": BOOLEAN,
        "OKActions": List("member", STRING, is_wrapped=True),
        "AlarmActions": List("member", STRING, is_wrapped=True),
        "InsufficientDataActions": List("member", STRING, is_wrapped=True),
        "StateValue": STRING,
        "StateReason": STRING,
        "StateReasonData": STRING,
        "StateUpdatedTimestamp": TIMESTAMP,
        "MetricName": STRING,
        "Namespace": STRING,
        "Statistic": STRING,
        "ExtendedStatistic": STRING,
        "Dimensions": List("member", DIMENSION, is_wrapped=True),
        "Period": INTEGER,
        "Unit": STRING,
        "EvaluationPeriods": INTEGER,
        "DatapointsToAlarm": INTEGER,
        "Threshold": DOUBLE,
        "ComparisonOperator": STRING,
        "TreatMissingData": STRING,
        "EvaluateLowSampleCountPercentile": STRING,
        "Metrics": List("member", METRIC_DATA_QUERY, is_wrapped=True),
        "ThresholdMetricId": STRING,
        "EvaluationState": STRING,
        "StateTransitionedTimestamp": TIMESTAMP,
        "EvaluationWindow": EVALUATION_WINDOW,
        "WarmUpConfiguration": WARM_UP_CONFIGURATION,
        "EvaluationCriteria": EVALUATION_CRITERIA,
        "EvaluationInterval": INTEGER,
        "ActionConfiguration": ACTION_CONFIGURATION,
    }
)
SCHEDULE_CONFIGURATION = Structure(
    {
        "ScheduleExpression": STRING,
        "StartTimeOffset": INTEGER,
        "EndTimeOffset": INTEGER,
    }
)
TAG = Structure(
    {
        "Key": STRING,
        "Value": STRING,
    }
)
SCHEDULED_QUERY_CONFIGURATION = Structure(
    {
        "QueryString": STRING,
        "LogGroupIdentifiers": List("member", STRING, is_wrapped=True),
        "QueryARN": STRING,
        "ScheduledQueryRoleARN": STRING,
        "ScheduleConfiguration": SCHEDULE_CONFIGURATION,
        "AggregationExpression": STRING,
        "Tags": List("member", TAG, is_wrapped=True),
    }
)
LOG_ALARM = Structure(
    {
        "AlarmName": STRING,
        "AlarmArn": STRING,
        "AlarmDescription": STRING,
        "AlarmConfigurationUpdatedTimestamp": TIMESTAMP,
        "ActionsEnabled": BOOLEAN,
        "OKActions": List("member", STRING, is_wrapped=True),
        "AlarmActions": List("member", STRING, is_wrapped=True),
        "InsufficientDataActions": List("member", STRING, is_wrapped=True),
        "StateValue": STRING,
        "StateReason": STRING,
        "StateReasonData": STRING,
        "StateUpdatedTimestamp": TIMESTAMP,
        "ScheduledQueryConfiguration": SCHEDULED_QUERY_CONFIGURATION,
        "QueryResultsToEvaluate": INTEGER,
        "QueryResultsToAlarm": INTEGER,
        "Threshold": DOUBLE,
        "ComparisonOperator": STRING,
        "TreatMissingData": STRING,
        "StateTransitionedTimestamp": TIMESTAMP,
        "EvaluationState": STRING,
        "ActionLogLineCount": INTEGER,
        "ActionLogLineRoleArn": STRING,
        "WarmUpConfiguration": WARM_UP_CONFIGURATION,
        "ActionConfiguration": ACTION_CONFIGURATION,
    }
)
LABEL_OPTIONS = Structure(
    {
        "Timezone": STRING,
    }
)
MESSAGE_DATA = Structure(
    {
        "Code": STRING,
        "Value": STRING,
    }
)
METRIC_DATA_RESULT = Structure(
    {
        "Id": STRING,
        "Label": STRING,
        "Timestamps": List("member", TIMESTAMP, is_wrapped=True),
        "Values": List("member", DOUBLE, is_wrapped=True),
        "StatusCode": STRING,
        "Messages": List("member", MESSAGE_DATA, is_wrapped=True),
    }
)
DATAPOINT = Structure(
    {
        "Timestamp": TIMESTAMP,
        "SampleCount": DOUBLE,
        "Average": DOUBLE,
        "Sum": DOUBLE,
        "Minimum": DOUBLE,
        "Maximum": DOUBLE,
        "Unit": STRING,
        "ExtendedStatistics": Map("entry", "key", "value", DOUBLE, is_wrapped=True),
    }
)
DIMENSION_FILTER = Structure(
    {
        "Name": STRING,
        "Value": STRING,
    }
)

ACTIONS: dict[str, Action] = {
    "DeleteAlarms": Action(
        Structure(
            {
                "AlarmNames": List("member", STRING, is_wrapped=True),
            }
        ),
        None,
    ),
    "DescribeAlarmHistory": Action(
        Structure(
            {
                "AlarmName": STRING,
                "AlarmContributorId": STRING,
                "AlarmTypes": List("member", STRING, is_wrapped=True),
                "HistoryItemType": STRING,
                "StartDate": TIMESTAMP,
                "EndDate": TIMESTAMP,
                "MaxRecords": INTEGER,
                "NextToken": STRING,
                "ScanBy": STRING,
            }
        ),
        Structure(
            {
                "AlarmHistoryItems": List("member", ALARM_HISTORY_ITEM, is_wrapped=True),
                "NextToken": STRING,
            }
        ),
    ),
    "DescribeAlarms": Action(
        Structure(
            {
                "AlarmNames": List("member", STRING, is_wrapped=True),
                "AlarmNamePrefix": STRING,
                "AlarmTypes": List("member", STRING, is_wrapped=True),
                "ChildrenOfAlarmName": STRING,
                "ParentsOfAlarmName": STRING,
                "StateValue": STRING,
                "ActionPrefix": STRING,
                "MaxRecords": INTEGER,
                "NextToken": STRING,
            }
        ),
        Structure(
            {
                "CompositeAlarms": List("member", COMPOSITE_ALARM, is_wrapped=True),
                "MetricAlarms": List("member", METRIC_ALARM, is_wrapped=True),
                "LogAlarms": List("member", LOG_ALARM, is_wrapped=True),
                "NextToken": STRING,
            }
        ),
    ),
    "DescribeAlarmsForMetric": Action(
        Structure(
            {
                "MetricName": STRING,
                "Namespace": STRING,
                "Statistic": STRING,
                "ExtendedStatistic": STRING,
                "Dimensions": List("member", DIMENSION, is_wrapped=True),
                "Period": INTEGER,
                "Unit": STRING,
            }
        ),
        Structure(
            {
                "MetricAlarms": List("member", METRIC_ALARM, is_wrapped=True),
            }
        ),
    ),
    "DisableAlarmActions": Action(
        Structure(
            {
                "AlarmNames": List("member", STRING, is_wrapped=True),
            }
        ),
        None,
    ),
    "EnableAlarmActions": Action(
        Structure(
            {
                "AlarmNames": List("member", STRING, is_wrapped=True),
            }
        ),
        None,
    ),
    "GetMetricData": Action(
        Structure(
            {
                "MetricDataQueries": List("member", METRIC_DATA_QUERY, is_wrapped=True),
                "StartTime": TIMESTAMP,
                "EndTime": TIMESTAMP,
                "NextToken": STRING,
                "ScanBy": STRING,
                "MaxDatapoints": INTEGER,
                "LabelOptions": LABEL_OPTIONS,
            }
        ),
        Structure(
            {
                "MetricDataResults": List("member", METRIC_DATA_RESULT, is_wrapped=True),
                "NextToken": STRING,
                "Messages": List("member", MESSAGE_DATA, is_wrapped=True),
            }
        ),
    ),
    "GetMetricStatistics": Action(
        Structure(
            {
                "Namespace": STRING,
                "MetricName": STRING,
                "Dimensions": List("member", DIMENSION, is_wrapped=True),
                "StartTime": TIMESTAMP,
                "EndTime": TIMESTAMP,
                "Period": INTEGER,
                "Statistics": List("member", STRING, is_wrapped=True),
                "ExtendedStatistics": List("member", STRING, is_wrapped=True),
                "Unit": STRING,
            }
        ),
        Structure(
            {
                "Label": STRING,
                "Datapoints": List("member", DATAPOINT, is_wrapped=True),
            }
        ),
    ),
    "ListMetrics": Action(
        Structure(
            {
                "Namespace": STRING,
                "MetricName": STRING,
                "Dimensions": List("member", DIMENSION_FILTER, is_wrapped=True),
                "NextToken": STRING,
                "RecentlyActive": STRING,
                "IncludeLinkedAccounts": BOOLEAN,
                "OwningAccount": STRING,
            }
        ),
        Structure(
            {
                "Metrics": List("member", METRIC, is_wrapped=True),
                "NextToken": STRING,
                "OwningAccounts": List("member", STRING, is_wrapped=True),
            }
        ),
    ),
    "ListTagsForResource": Action(
        Structure(
            {
                "ResourceARN": STRING,
            }
        ),
        Structure(
            {
                "Tags": List("member", TAG, is_wrapped=True),
            }
        ),
    ),
    "PutCompositeAlarm": Action(
        Structure(
            {
                "ActionsEnabled": BOOLEAN,
                "AlarmActions": List("member", STRING, is_wrapped=True),
                "AlarmDescription": STRING,
                "AlarmName": STRING,
                "AlarmRule": STRING,
                "InsufficientDataActions": List("member", STRING, is_wrapped=True),
                "OKActions": List("member", STRING, is_wrapped=True),
                "Tags": List("member", TAG, is_wrapped=True),
                "ActionsSuppressor": STRING,
                "ActionsSuppressorWaitPeriod": INTEGER,
                "ActionsSuppressorExtensionPeriod": INTEGER,
                "ActionConfiguration": ACTION_CONFIGURATION,
            }
        ),
        None,
    ),
    "PutMetricAlarm": Action(
        Structure(
            {
                "AlarmName": STRING,
                "AlarmDescription": STRING,
                "ActionsEnabled": BOOLEAN,
                "OKActions": List("member", STRING, is_wrapped=True),
                "AlarmActions": List("member", STRING, is_wrapped=True),
                "InsufficientDataActions": List("member", STRING, is_wrapped=True),
                "MetricName": STRING,
                "Namespace": STRING,
                "Statistic": STRING,
                "ExtendedStatistic": STRING,
                "Dimensions": List("member", DIMENSION, is_wrapped=True),
                "Period": INTEGER,
                "Unit": STRING,
                "EvaluationPeriods": INTEGER,
                "DatapointsToAlarm": INTEGER,
                "Threshold": DOUBLE,
                "ComparisonOperator": STRING,
                "TreatMissingData": STRING,
                "EvaluateLowSampleCountPercentile": STRING,
                "Metrics": List("member", METRIC_DATA_QUERY, is_wrapped=True),
                "Tags": List("member", TAG, is_wrapped=True),
                "ThresholdMetricId": STRING,
                "EvaluationWindow": EVALUATION_WINDOW,
                "WarmUpConfiguration": WARM_UP_CONFIGURATION,
                "EvaluationCriteria": EVALUATION_CRITERIA,
                "EvaluationInterval": INTEGER,
                "ActionConfiguration": ACTION_CONFIGURATION,
            }
        ),
        None,
    ),
    "SetAlarmState": Action(
        Structure(
            {
                "AlarmName": STRING,
                "StateValue": STRING,
                "StateReason": STRING,
                "StateReasonData": STRING,
            }
        ),
        None,
    ),
    "TagResource": Action(
        Structure(
            {
                "ResourceARN": STRING,
                "Tags": List("member", TAG, is_wrapped=True),
            }
        ),
        Structure({}),
    ),
    "UntagResource": Action(
        Structure(
            {
                "ResourceARN": STRING,
                "TagKeys": List("member", STRING, is_wrapped=True),
            }
        ),
        Structure({}),
    ),
}
