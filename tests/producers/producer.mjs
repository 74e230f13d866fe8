// A producer that knows of the pipeline only what the documents say: sends one ingest event, and follows it to its end.
//
// node producer.mjs DOCUMENTS '{"bootstrap": …, "prefix": …, "message": …, "tenant": …, "key": …, "uri": …}'
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

const [folder, given] = [process.argv[2], JSON.parse(process.argv[3])]
const read = name => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const [asyncapi, example] = [read('asyncapi.json'), read('ingest-event.example.json')]
const message = asyncapi.components.messages[given.message]
const ajv = addFormats(new Ajv2020())

function checked (schema, value) {
  const validate = ajv.compile(schema)
  if (!validate(value)) throw new Error(`${ajv.errorsText(validate.errors)}: ${JSON.stringify(value)}`)
  return value
}

const schemaOf = name => read(`${name}.schema.json`)
const topicOf = channel => asyncapi.channels[channel].address.replace('{prefix}', given.prefix)

// the asset's id, made as the key's description says
function assetId ({ tenant, idempotency_key: key }) {
  const namespace = /namespace ([0-9a-f-]{36})/.exec(message.bindings.kafka.key.description)[1]
  const hash = createHash('sha1').update(Buffer.from(namespace.replaceAll('-', ''), 'hex'))
  const bytes = hash.update(`asset\0${tenant}\0${key}`).digest().subarray(0, 16)
  bytes[6] = (bytes[6] & 0x0f) | 0x50
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

// the message's value and headers: the event as JSON, or its data, with its attributes as headers
function encoded (event) {
  if (message.contentType === 'application/cloudevents+json') {
    return { value: event, headers: { 'content-type': message.contentType } }
  }
  const { data, datacontenttype: type, ...attributes } = event
  const headers = Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value])
  return { value: data, headers: { 'content-type': type, ...Object.fromEntries(headers) } }
}

function request () {
  const source = { uri: given.uri, name: decodeURIComponent(given.uri.split('/').pop()) }
  const data = { ...example.data, tenant: given.tenant, idempotency_key: given.key, source }
  const subject = checked(message.bindings.kafka.key, assetId(data))
  return { ...example, id: randomUUID(), time: new Date().toISOString(), subject, data }
}

const ended = ({ step, state, stage }) =>
  !step && (['failed', 'rejected', 'duplicate'].includes(state) || (stage === 'publish' && state === 'completed'))

async function followed (stream, event) {
  const status = ajv.compile(schemaOf('status-event'))
  for await (const { key, value } of stream) {
    const told = JSON.parse(value)
    if (!status(told)) throw new Error(`${ajv.errorsText(status.errors)}: ${value}`)
    if (key === event.subject && ended(told.data)) return told.data
  }
}

if (assetId(example.data) !== example.subject) throw new Error('the asset id is made otherwise')
const event = checked(schemaOf('ingest-event'), request())
const { value, headers } = encoded(event)
checked(message.headers, headers)

const broker = { clientId: 'test-producer', bootstrapBrokers: [given.bootstrap] }
const consumer = new Consumer({ ...broker, groupId: randomUUID(), deserializers: stringDeserializers })
const stream = await consumer.consume({ topics: [topicOf('status')], mode: 'latest', autocommit: false })
const producer = new Producer({ ...broker, serializers: stringSerializers })
await producer.send({ messages: [{ topic: topicOf('ingest'), key: event.subject, value: JSON.stringify(value), headers }] })
await producer.close()
console.log(JSON.stringify({ event, end: await followed(stream, event) }))
await stream.close()
await consumer.close()
