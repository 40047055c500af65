// Events and streamed lists: readers that are slow, or go.
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import type { ClientHttp2Session } from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { Container, ContainerEventResponse, createCriClient, serveCri } from '@nodelet/cri-api'
import type { CriClient, ImageService, RuntimeService } from '@nodelet/cri-api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { batches } from '../src/batches.ts'
import { createEventHub } from '../src/events.ts'
import type { EventHub } from '../src/events.ts'

const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => Array.fromAsync(items)

test('readers get events in order; one that is too slow is told to list anew, and of nothing after the gap', async () => {
  const hub = createEventHub<number>(3)
  const leaving = new AbortController()
  const [fast, slow] = [hub.read(leaving.signal), hub.read()[Symbol.asyncIterator]()]
  const got: number[] = []
  const reading = (async () => {
    for await (const event of fast) got.push(event)
  })()
  hub.emit(() => 1)
  expect(await slow.next()).toEqual({ done: false, value: 1 })
  for (const event of [2, 3, 4, 5]) {
    hub.emit(() => event)
    await turn()
  }
  expect(hub.readers).toBe(1)
  hub.emit(() => 6)
  await turn()
  expect(got).toEqual([1, 2, 3, 4, 5, 6])
  await expect(slow.next()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
  leaving.abort()
  await reading
  expect(hub.readers).toBe(0)
})

test('no event is made for nobody, and none comes to who left', async () => {
  const hub = createEventHub<number>()
  let made = 0
  const make = () => (made += 1)
  hub.emit(make)
  expect(await all(hub.read(AbortSignal.abort()))).toEqual([])
  for await (const event of one(hub, make)) expect(event).toBe(1)
  hub.emit(make)
  expect([made, hub.readers]).toEqual([1, 0])
})

async function* one(hub: EventHub<number>, make: () => number): AsyncGenerator<number> {
  const events = hub.read()
  hub.emit(make)
  for await (const event of events) {
    yield event
    return
  }
}

interface Served extends AsyncDisposable {
  socketPath: string
  hub: EventHub<ContainerEventResponse>
  connect(): CriClient
}

/** Events over a socket, as the runtime serves them. */
async function serve(limit: number): Promise<Served> {
  await using undo = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'ev-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const hub = createEventHub<ContainerEventResponse>(limit)
  const socketPath = join(folder, 's')
  const calls: Partial<RuntimeService> = { getContainerEvents: (_request, { signal } = {}) => hub.read(signal) }
  undo.use(await serveCri({ socketPath, runtimeService: calls as RuntimeService, imageService: {} as ImageService }))
  const opened = undo.move()
  const client = (): CriClient => opened.use(createCriClient(`unix://${socketPath}`))
  return { hub, socketPath, connect: client, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

const eventOf = (number: number, bytes: number): ContainerEventResponse =>
  ContainerEventResponse.fromPartial({ containerId: `${number}`.padStart(bytes, '.'), createdAt: BigInt(number) })

test('over the socket: who does not read holds up nobody, holds no memory, and learns that it missed events', async () => {
  await using served = await serve(100)
  const { hub } = served
  const open = () => served.connect().runtimeService.getContainerEvents({})[Symbol.asyncIterator]()
  const [fast, slow] = [open(), open()]
  const firsts = [fast.next(), slow.next()]
  await expect.poll(() => hub.readers).toBe(2)
  hub.emit(() => eventOf(0, 10))
  await Promise.all(firsts)
  // More than the buffers of both ends and the socket take.
  let sent = 0
  let got = 0
  while (hub.readers === 2) {
    expect(sent).toBeLessThan(20_000)
    for (let more = 0; more < 50; more += 1) hub.emit(() => eventOf((sent += 1), 4000))
    while (got < sent) {
      const next = await fast.next()
      expect(next.value?.createdAt).toBe(BigInt((got += 1)))
    }
  }
  const seen: bigint[] = []
  const rest = (async () => {
    for (let next = await slow.next(); !next.done; next = await slow.next()) seen.push(next.value.createdAt)
  })()
  await expect(rest).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
  expect(seen).toEqual(seen.map((_, at) => BigInt(at + 1)))
  expect(seen.length).toBeLessThan(sent)
  hub.emit(() => eventOf(sent + 1, 10))
  expect((await fast.next()).value?.createdAt).toBe(BigInt(sent + 1))
})

test('over the socket: nothing stays of a client that went, however it went', async () => {
  await using served = await serve(100)
  const { hub, socketPath } = served
  const leaving = new AbortController()
  const [cancels, breaks] = [leaving.signal, undefined].map(async (signal) => {
    for await (const event of served.connect().runtimeService.getContainerEvents({}, signal ? { signal } : {})) {
      return event
    }
    return undefined
  })
  await expect.poll(() => hub.readers).toBe(2)
  leaving.abort(new Error('enough'))
  await expect(cancels).rejects.toThrow('enough')
  await expect.poll(() => hub.readers).toBe(1)
  hub.emit(() => eventOf(1, 10))
  expect((await breaks)?.createdAt).toBe(1n)
  await expect.poll(() => hub.readers).toBe(0)
  // One whose connection breaks while the server waits for room on it.
  const session = connectTo(socketPath)
  await expect.poll(() => hub.readers).toBe(1)
  for (let more = 0; more < 90; more += 1) hub.emit(() => eventOf(more, 10_000))
  await turn()
  expect(hub.readers).toBe(1)
  session.destroy()
  await expect.poll(() => hub.readers).toBe(0)
})

/** A client that asks for events and never reads one. */
function connectTo(socketPath: string): ClientHttp2Session {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socketPath) })
  const stream = session.request({
    ':method': 'POST',
    ':path': '/runtime.v1.RuntimeService/GetContainerEvents',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.on('error', () => undefined) // it is broken on purpose
  stream.pause()
  stream.end(Buffer.alloc(5)) // a message without fields
  return session
}

const containerOf = (bytes: number, at: number): Container =>
  Container.fromPartial({ id: String(at), annotations: { a: 'x'.repeat(bytes) } })

test('lists come in messages of 500 items or 1 MiB, each item once', async () => {
  expect(await all(batches([], Container))).toEqual([])
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 8, arbitrary: fc.nat(200) }, fc.nat(1_500_000)), { maxLength: 30 }),
      fc.nat(1200),
      async (sizes, more) => {
        const items = [...sizes, ...Array.from({ length: more }, () => 0)].map(containerOf)
        const found = await all(batches(items, Container))
        expect(found.flat()).toEqual(items)
        for (const batch of found) {
          const bytes = batch.reduce((sum, item) => sum + Container.encode(item).finish().length, 0)
          expect(batch.length).toBeGreaterThan(0)
          expect(batch.length).toBeLessThanOrEqual(500)
          expect(batch.length === 1 || bytes <= 1 << 20).toBe(true)
        }
      },
    ),
    { numRuns: 30 },
  )
})
