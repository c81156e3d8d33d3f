# A tour of SQS with nothing but a signer: ruby tour.rb [NAME]
#
# aws-sigv4 is the signer of the AWS SDK for Ruby; Net::HTTP sends. With the gem aws-sdk-sqs the same calls are methods
# of Aws::SQS::Client. Reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.
require "aws-sigv4"
require "json"
require "net/http"

ENDPOINT = URI(ENV.fetch("AWS_ENDPOINT_URL_SQS", "http://localhost:9324"))
REGION = ENV.fetch("AWS_REGION", "us-east-1")

class Refused < StandardError
  attr_reader :status, :code

  def initialize(response)
    @status = response.code.to_i
    @code = response["x-amzn-query-error"].to_s.split(";").first
    super("#{status} #{code}: #{response.body}")
  end
end

def signer(key_id, secret)
  Aws::Sigv4::Signer.new(service: "sqs", region: REGION, access_key_id: key_id, secret_access_key: secret)
end

SIGNER = signer(ENV.fetch("AWS_ACCESS_KEY_ID"), ENV.fetch("AWS_SECRET_ACCESS_KEY"))

# One action of SQS in the JSON protocol.
def sqs(action, signer: SIGNER, **parameters)
  body = JSON.generate(parameters)
  headers = { "content-type" => "application/x-amz-json-1.0", "x-amz-target" => "AmazonSQS.#{action}" }
  signature = signer.sign_request(http_method: "POST", url: "#{ENDPOINT}/", headers: headers, body: body)
  http = Net::HTTP.new(ENDPOINT.host, ENDPOINT.port)
  http.use_ssl = ENDPOINT.scheme == "https"
  response = http.post("/", body, headers.merge(signature.headers))
  raise Refused, response unless response.is_a?(Net::HTTPSuccess)

  response.body.empty? ? {} : JSON.parse(response.body)
end

def check(wanted, got)
  raise "wanted #{wanted.inspect}, got #{got.inspect}" unless wanted == got
end

name = ARGV.fetch(0, "tour-ruby")

# Queues: what fails twice goes to the dead-letter queue.
dead_url = sqs("CreateQueue", QueueName: "#{name}-dead")["QueueUrl"]
dead_arn = sqs("GetQueueAttributes", QueueUrl: dead_url, AttributeNames: ["QueueArn"])["Attributes"]["QueueArn"]
policy = JSON.generate(deadLetterTargetArn: dead_arn, maxReceiveCount: "2")
url = sqs("CreateQueue", QueueName: name, Attributes: { RedrivePolicy: policy })["QueueUrl"]
fifo_url = sqs("CreateQueue", QueueName: "#{name}.fifo", Attributes: { FifoQueue: "true" })["QueueUrl"]

# Send, with attributes. It is visible in a second: the receive is a long poll.
language = { language: { DataType: "String", StringValue: "Ruby" } }
sqs("SendMessage", QueueUrl: url, MessageBody: "hello, wörld", DelaySeconds: 1, MessageAttributes: language)
message, = sqs("ReceiveMessage", QueueUrl: url, WaitTimeSeconds: 20, MessageAttributeNames: ["All"])["Messages"]
check "hello, wörld", message["Body"]
check "Ruby", message["MessageAttributes"]["language"]["StringValue"]

# Extend: it is ours for ten minutes from now on. Then it is done.
handle = message["ReceiptHandle"]
sqs("ChangeMessageVisibility", QueueUrl: url, ReceiptHandle: handle, VisibilityTimeout: 600)
sqs("DeleteMessage", QueueUrl: url, ReceiptHandle: handle)

# A batch: the answer says which entries failed.
entries = [{ Id: "a", MessageBody: "one" }, { Id: "b", MessageBody: "two", DelaySeconds: 901 }]
sent = sqs("SendMessageBatch", QueueUrl: url, Entries: entries)
check ["a"], sent["Successful"].map { |entry| entry["Id"] }
check ["b"], sent["Failed"].map { |entry| entry["Id"] }
message, = sqs("ReceiveMessage", QueueUrl: url, WaitTimeSeconds: 20)["Messages"]
sqs("DeleteMessageBatch", QueueUrl: url, Entries: [{ Id: "a", ReceiptHandle: message["ReceiptHandle"] }])

# A dead letter: received and given back twice.
sqs("SendMessage", QueueUrl: url, MessageBody: "broken", MessageAttributes: language)
2.times do
  message, = sqs("ReceiveMessage", QueueUrl: url, WaitTimeSeconds: 20)["Messages"]
  sqs("ChangeMessageVisibility", QueueUrl: url, ReceiptHandle: message["ReceiptHandle"], VisibilityTimeout: 0)
end
check nil, sqs("ReceiveMessage", QueueUrl: url)["Messages"]
letter, = sqs("ReceiveMessage", QueueUrl: dead_url, WaitTimeSeconds: 20, VisibilityTimeout: 0)["Messages"]
check "broken", letter["Body"]

# FIFO: in order for each group, and a repeated send is recognised.
%w[first second second third].each do |body|
  sqs("SendMessage", QueueUrl: fifo_url, MessageBody: body, MessageGroupId: "order-1", MessageDeduplicationId: body)
end
received = sqs("ReceiveMessage", QueueUrl: fifo_url, WaitTimeSeconds: 20, MaxNumberOfMessages: 10)["Messages"]
check %w[first second third], received.map { |one| one["Body"] }
received.each { |one| sqs("DeleteMessage", QueueUrl: fifo_url, ReceiptHandle: one["ReceiptHandle"]) }

# A presigned URL: whoever has it may count the messages, for a minute, and nothing else.
query = URI.encode_www_form(
  Action: "GetQueueAttributes", Version: "2012-11-05", QueueUrl: url,
  "AttributeName.1" => "ApproximateNumberOfMessages"
)
presigned = SIGNER.presign_url(http_method: "GET", url: "#{ENDPOINT}/?#{query}", expires_in: 60, body: "")
counted = Net::HTTP.get_response(URI(presigned.to_s))
check "0", counted.body[%r{<Name>ApproximateNumberOfMessages</Name>\s*<Value>(\d+)</Value>}, 1]

# A wrong key is refused.
begin
  sqs("SendMessage", signer: signer("AKIAWRONGKEY", "wrong"), QueueUrl: url, MessageBody: "nobody may read this")
  raise "a wrong key was accepted"
rescue Refused => e
  check [403, "InvalidClientTokenId"], [e.status, e.code]
end

puts "ruby: done"
