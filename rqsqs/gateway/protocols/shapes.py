"""The actions of SQS. Made by tools/shapes.py: do not edit."""

from __future__ import annotations

from rqsqs.gateway.protocols.model import Action, List, Map, Scalar, Structure

STRING, INTEGER, BOOLEAN, BLOB = Scalar.STRING, Scalar.INTEGER, Scalar.BOOLEAN, Scalar.BLOB

CHANGE_MESSAGE_VISIBILITY_BATCH_REQUEST_ENTRY = Structure(
    {
        "Id": STRING,
        "ReceiptHandle": STRING,
        "VisibilityTimeout": INTEGER,
    }
)
CHANGE_MESSAGE_VISIBILITY_BATCH_RESULT_ENTRY = Structure(
    {
        "Id": STRING,
    }
)
BATCH_RESULT_ERROR_ENTRY = Structure(
    {
        "Id": STRING,
        "SenderFault": BOOLEAN,
        "Code": STRING,
        "Message": STRING,
    }
)
DELETE_MESSAGE_BATCH_REQUEST_ENTRY = Structure(
    {
        "Id": STRING,
        "ReceiptHandle": STRING,
    }
)
DELETE_MESSAGE_BATCH_RESULT_ENTRY = Structure(
    {
        "Id": STRING,
    }
)
LIST_MESSAGE_MOVE_TASKS_RESULT_ENTRY = Structure(
    {
        "TaskHandle": STRING,
        "Status": STRING,
        "SourceArn": STRING,
        "DestinationArn": STRING,
        "MaxNumberOfMessagesPerSecond": INTEGER,
        "ApproximateNumberOfMessagesMoved": INTEGER,
        "ApproximateNumberOfMessagesToMove": INTEGER,
        "FailureReason": STRING,
        "StartedTimestamp": INTEGER,
    }
)
MESSAGE_ATTRIBUTE_VALUE = Structure(
    {
        "StringValue": STRING,
        "BinaryValue": BLOB,
        "StringListValues": List("StringListValue", STRING),
        "BinaryListValues": List("BinaryListValue", BLOB),
        "DataType": STRING,
    }
)
MESSAGE = Structure(
    {
        "MessageId": STRING,
        "ReceiptHandle": STRING,
        "MD5OfBody": STRING,
        "Body": STRING,
        "Attributes": Map("Attribute", "Name", "Value", STRING),
        "MD5OfMessageAttributes": STRING,
        "MessageAttributes": Map("MessageAttribute", "Name", "Value", MESSAGE_ATTRIBUTE_VALUE),
    }
)
MESSAGE_SYSTEM_ATTRIBUTE_VALUE = Structure(
    {
        "StringValue": STRING,
        "BinaryValue": BLOB,
        "StringListValues": List("StringListValue", STRING),
        "BinaryListValues": List("BinaryListValue", BLOB),
        "DataType": STRING,
    }
)
SEND_MESSAGE_BATCH_REQUEST_ENTRY = Structure(
    {
        "Id": STRING,
        "MessageBody": STRING,
        "DelaySeconds": INTEGER,
        "MessageAttributes": Map("MessageAttribute", "Name", "Value", MESSAGE_ATTRIBUTE_VALUE),
        "MessageSystemAttributes": Map("MessageSystemAttribute", "Name", "Value", MESSAGE_SYSTEM_ATTRIBUTE_VALUE),
        "MessageDeduplicationId": STRING,
        "MessageGroupId": STRING,
    }
)
SEND_MESSAGE_BATCH_RESULT_ENTRY = Structure(
    {
        "Id": STRING,
        "MessageId": STRING,
        "MD5OfMessageBody": STRING,
        "MD5OfMessageAttributes": STRING,
        "MD5OfMessageSystemAttributes": STRING,
        "SequenceNumber": STRING,
    }
)

ACTIONS: dict[str, Action] = {
    "AddPermission": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Label": STRING,
                "AWSAccountIds": List("AWSAccountId", STRING),
                "Actions": List("ActionName", STRING),
            }
        ),
        None,
    ),
    "CancelMessageMoveTask": Action(
        Structure(
            {
                "TaskHandle": STRING,
            }
        ),
        Structure(
            {
                "ApproximateNumberOfMessagesMoved": INTEGER,
            }
        ),
    ),
    "ChangeMessageVisibility": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "ReceiptHandle": STRING,
                "VisibilityTimeout": INTEGER,
            }
        ),
        None,
    ),
    "ChangeMessageVisibilityBatch": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Entries": List(
                    "ChangeMessageVisibilityBatchRequestEntry", CHANGE_MESSAGE_VISIBILITY_BATCH_REQUEST_ENTRY
                ),
            }
        ),
        Structure(
            {
                "Successful": List(
                    "ChangeMessageVisibilityBatchResultEntry", CHANGE_MESSAGE_VISIBILITY_BATCH_RESULT_ENTRY
                ),
                "Failed": List("BatchResultErrorEntry", BATCH_RESULT_ERROR_ENTRY),
            }
        ),
    ),
    "CreateQueue": Action(
        Structure(
            {
                "QueueName": STRING,
                "Attributes": Map("Attribute", "Name", "Value", STRING),
                "tags": Map("Tag", "Key", "Value", STRING),
            }
        ),
        Structure(
            {
                "QueueUrl": STRING,
            }
        ),
    ),
    "DeleteMessage": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "ReceiptHandle": STRING,
            }
        ),
        None,
    ),
    "DeleteMessageBatch": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Entries": List("DeleteMessageBatchRequestEntry", DELETE_MESSAGE_BATCH_REQUEST_ENTRY),
            }
        ),
        Structure(
            {
                "Successful": List("DeleteMessageBatchResultEntry", DELETE_MESSAGE_BATCH_RESULT_ENTRY),
                "Failed": List("BatchResultErrorEntry", BATCH_RESULT_ERROR_ENTRY),
            }
        ),
    ),
    "DeleteQueue": Action(
        Structure(
            {
                "QueueUrl": STRING,
            }
        ),
        None,
    ),
    "GetQueueAttributes": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "AttributeNames": List("AttributeName", STRING),
            }
        ),
        Structure(
            {
                "Attributes": Map("Attribute", "Name", "Value", STRING),
            }
        ),
    ),
    "GetQueueUrl": Action(
        Structure(
            {
                "QueueName": STRING,
                "QueueOwnerAWSAccountId": STRING,
            }
        ),
        Structure(
            {
                "QueueUrl": STRING,
            }
        ),
    ),
    "ListDeadLetterSourceQueues": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "NextToken": STRING,
                "MaxResults": INTEGER,
            }
        ),
        Structure(
            {
                "queueUrls": List("QueueUrl", STRING),
                "NextToken": STRING,
            }
        ),
    ),
    "ListMessageMoveTasks": Action(
        Structure(
            {
                "SourceArn": STRING,
                "MaxResults": INTEGER,
            }
        ),
        Structure(
            {
                "Results": List("ListMessageMoveTasksResultEntry", LIST_MESSAGE_MOVE_TASKS_RESULT_ENTRY),
            }
        ),
    ),
    "ListQueueTags": Action(
        Structure(
            {
                "QueueUrl": STRING,
            }
        ),
        Structure(
            {
                "Tags": Map("Tag", "Key", "Value", STRING),
            }
        ),
    ),
    "ListQueues": Action(
        Structure(
            {
                "QueueNamePrefix": STRING,
                "NextToken": STRING,
                "MaxResults": INTEGER,
            }
        ),
        Structure(
            {
                "QueueUrls": List("QueueUrl", STRING),
                "NextToken": STRING,
            }
        ),
    ),
    "PurgeQueue": Action(
        Structure(
            {
                "QueueUrl": STRING,
            }
        ),
        None,
    ),
    "ReceiveMessage": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "AttributeNames": List("AttributeName", STRING),
                "MessageSystemAttributeNames": List("MessageSystemAttributeName", STRING),
                "MessageAttributeNames": List("MessageAttributeName", STRING),
                "MaxNumberOfMessages": INTEGER,
                "VisibilityTimeout": INTEGER,
                "WaitTimeSeconds": INTEGER,
                "ReceiveRequestAttemptId": STRING,
            }
        ),
        Structure(
            {
                "Messages": List("Message", MESSAGE),
            }
        ),
    ),
    "RemovePermission": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Label": STRING,
            }
        ),
        None,
    ),
    "SendMessage": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "MessageBody": STRING,
                "DelaySeconds": INTEGER,
                "MessageAttributes": Map("MessageAttribute", "Name", "Value", MESSAGE_ATTRIBUTE_VALUE),
                "MessageSystemAttributes": Map(
                    "MessageSystemAttribute", "Name", "Value", MESSAGE_SYSTEM_ATTRIBUTE_VALUE
                ),
                "MessageDeduplicationId": STRING,
                "MessageGroupId": STRING,
            }
        ),
        Structure(
            {
                "MD5OfMessageBody": STRING,
                "MD5OfMessageAttributes": STRING,
                "MD5OfMessageSystemAttributes": STRING,
                "MessageId": STRING,
                "SequenceNumber": STRING,
            }
        ),
    ),
    "SendMessageBatch": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Entries": List("SendMessageBatchRequestEntry", SEND_MESSAGE_BATCH_REQUEST_ENTRY),
            }
        ),
        Structure(
            {
                "Successful": List("SendMessageBatchResultEntry", SEND_MESSAGE_BATCH_RESULT_ENTRY),
                "Failed": List("BatchResultErrorEntry", BATCH_RESULT_ERROR_ENTRY),
            }
        ),
    ),
    "SetQueueAttributes": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Attributes": Map("Attribute", "Name", "Value", STRING),
            }
        ),
        None,
    ),
    "StartMessageMoveTask": Action(
        Structure(
            {
                "SourceArn": STRING,
                "DestinationArn": STRING,
                "MaxNumberOfMessagesPerSecond": INTEGER,
            }
        ),
        Structure(
            {
                "TaskHandle": STRING,
            }
        ),
    ),
    "TagQueue": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "Tags": Map("Tag", "Key", "Value", STRING),
            }
        ),
        None,
    ),
    "UntagQueue": Action(
        Structure(
            {
                "QueueUrl": STRING,
                "TagKeys": List("TagKey", STRING),
            }
        ),
        None,
    ),
}
