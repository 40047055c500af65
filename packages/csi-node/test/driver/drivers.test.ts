// Which drivers a node has: by name and version, and as long as they answer.
import { accessMode, createCsiDrivers, type CsiDrivers } from '@nodelet/csi-node'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { serveDriver, socketFolder, type ServedDriver } from './fake-driver.ts'

const name = 'disk.example.com'
const signal = AbortSignal.timeout(60_000)
let place: Awaited<ReturnType<typeof socketFolder>>
let one: ServedDriver
let two: ServedDriver
let drivers: CsiDrivers
beforeAll(async () => {
  place = await socketFolder()
  one = place.opened.use(await serveDriver(place.folder, 'one.sock'))
  two = place.opened.use(await serveDriver(place.folder, 'two.sock'))
})
afterAll(async () => place[Symbol.asyncDispose]())
beforeEach(() => {
  drivers = createCsiDrivers()
  delete two.does.nodeGetInfo
})

const register = async ({ endpoint }: ServedDriver, ...versions: string[]) =>
  drivers.register({ name, endpoint, versions }, signal)

test('a driver is there under its highest version of 1.x, until it is deregistered', async () => {
  expect(await register(one, '0.3.0', '1.2.0', '1.10.0', '2.0.0')).toEqual({
    nodeId: 'node-1',
    maxVolumesPerNode: 25,
    topology: { zone: 'a' },
  })
  const driver = drivers.get(name)
  expect(driver).toMatchObject({ name, endpoint: one.endpoint, version: '1.10.0' })
  expect([drivers.deregister(name), drivers.deregister(name), drivers.get(name)]).toEqual([true, false, undefined])
  await expect(driver?.capabilities(signal)).rejects.toMatchObject({
    kind: 'transient',
    message: `driver name ${name} not found in the list of registered CSI drivers`,
  })
})

test.each([
  [[], 'names no supported versions'],
  [['0.3.0', '2.0.0'], 'none of the versions ["0.3.0","2.0.0"] is supported'],
  [['latest'], 'none of the versions ["latest"] is supported'],
])('versions %j are refused', async (versions, message) => {
  await expect(register(one, ...versions)).rejects.toThrow(message)
  expect(drivers.get(name)).toBeUndefined()
})

test.each(['', '.', '../../etc', 'a/b', 'a..b', 'a\nb', '-a', 'x'.repeat(64)])(
  'the name %j, which no CSIDriver and no folder may have, is refused',
  async (odd) => {
    const { endpoint } = one
    await expect(drivers.register({ name: odd, endpoint, versions: ['1.0.0'] }, signal)).rejects.toThrow(
      `CSI driver ${JSON.stringify(odd)}: the name must be`,
    )
    expect(drivers.get(odd)).toBeUndefined()
  },
)

test('another driver of the name must have a higher version; the old one’s end then is not its own', async () => {
  await register(one, '1.5.0')
  await expect(register(two, '1.5.0')).rejects.toThrow('already registered with version 1.5.0')
  await register(two, '1.6.0')
  expect(drivers.get(name)?.endpoint).toBe(two.endpoint)
  expect(drivers.deregister(name, one.endpoint)).toBe(false)
  expect(drivers.get(name)?.version).toBe('1.6.0')
})

test('one that does not say what the node is to it is not registered', async () => {
  two.does.nodeGetInfo = () => ({ nodeId: '' })
  await expect(register(two, '1.0.0')).rejects.toThrow('node_id is empty')
  expect(drivers.get(name)).toBeUndefined()
})

test('one that goes while it is asked is not registered', async () => {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  two.does.nodeGetInfo = async () => (resolve(), new Promise(() => {}))
  const registering = register(two, '1.0.0')
  registering.catch(() => undefined) // it is awaited below
  await asked
  drivers.deregister(name)
  await expect(registering).rejects.toMatchObject({ kind: 'transient' })
  expect(drivers.get(name)).toBeUndefined()
})

test.each([
  [[], 'SINGLE_NODE_WRITER', 'SINGLE_NODE_MULTI_WRITER'],
  [['ReadWriteOnce', 'ReadOnlyMany'], 'SINGLE_NODE_WRITER', 'SINGLE_NODE_MULTI_WRITER'],
  [['ReadOnlyMany'], 'MULTI_NODE_READER_ONLY', 'MULTI_NODE_READER_ONLY'],
  [['ReadWriteMany'], 'MULTI_NODE_MULTI_WRITER', 'MULTI_NODE_MULTI_WRITER'],
  [['ReadWriteOncePod'], 'SINGLE_NODE_WRITER', 'SINGLE_NODE_SINGLE_WRITER'],
])('access modes %j', (modes, plain, telling) => {
  expect(accessMode(modes, { singleNodeMultiWriter: false })).toBe(plain)
  expect(accessMode(modes, { singleNodeMultiWriter: true })).toBe(telling)
})

test('an access mode that there is not is named', () => {
  expect(() => accessMode(['Twice'], { singleNodeMultiWriter: false })).toThrow('access mode "Twice": must be one of')
})
