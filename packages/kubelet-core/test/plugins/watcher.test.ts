// Plugins that really serve sockets, as they come, go and come again.
import { renameSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Server, status } from '@grpc/grpc-js'
import { afterEach, beforeEach, expect, it, test } from 'vitest'
import { type Clock, systemClock } from '../../src/clock.ts'
import {
  PluginInfo,
  type RegistrationServer,
  RegistrationService,
  type RegistrationStatus,
} from '@nodelet/csi-node/registration'
import { listenOn } from '@nodelet/csi-node/registration'
import { silentLogger } from '../../src/log.ts'
import type { Plugin, PluginHandler } from '../../src/plugins/registration.ts'
import { createPluginWatcher } from '../../src/plugins/watcher.ts'

let folder: string
let opened: AsyncDisposableStack
let seen: string[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pw-'))
  opened = new AsyncDisposableStack()
  seen = []
})
afterEach(async () => {
  await opened.disposeAsync()
  await rm(folder, { recursive: true, force: true })
})

const registry = () => join(folder, 'plugins_registry')

async function watchPlugins(register: (plugin: Plugin) => Promise<void> = async () => {}, clock = systemClock) {
  const handler: PluginHandler = {
    async register(plugin) {
      seen.push(`+${plugin.name}`)
      await register(plugin)
    },
    async deregister({ name }) {
      await setTimeout(100) // it has something to undo
      seen.push(`-${name}`)
    },
  }
  const handlers = new Map([['DRAPlugin', handler]])
  const watcher = createPluginWatcher({ folder: registry(), handlers, clock, log: silentLogger })
  opened.use(watcher)
  await watcher.start()
  return watcher
}

/** One that waits for nothing. */
const quickClock: Clock = { ...systemClock, after: (_ms, call) => systemClock.after(0, call) }

/** A plugin on a socket, which keeps what it is told. @param deaf so often it fails to hear it */
async function plug(path: string, info: Partial<PluginInfo> = {}, deaf = 0) {
  const told: RegistrationStatus[] = []
  const service: RegistrationServer = {
    getInfo: (_call, reply) =>
      reply(null, PluginInfo.create({ type: 'DRAPlugin', name: 'a', supportedVersions: ['v1'], ...info })),
    notifyRegistrationStatus({ request }, reply) {
      if (told.push(request) > deaf) reply(null, {})
      else reply({ code: status.INTERNAL, details: 'deaf' })
    },
  }
  const server = new Server()
  server.addService(RegistrationService, service)
  const socket = opened.use(await listenOn(server, join(registry(), path)))
  return { told, remove: async () => socket[Symbol.asyncDispose]() }
}
const fine = { pluginRegistered: true, error: '' }

it('plugins that are there, and that come, are registered and told so; those whose socket goes are let go', async () => {
  const got: Plugin[] = []
  const first = await plug('a-reg.sock')
  await watchPlugins(async (plugin) => void got.push(plugin))
  await expect.poll(() => first.told).toEqual([fine])
  const second = await plug('b-reg.sock', { name: 'b', endpoint: '/elsewhere', supportedVersions: ['v1', 'v2'] })
  await expect.poll(() => second.told).toEqual([fine])
  expect(got).toEqual([
    { name: 'a', endpoint: join(registry(), 'a-reg.sock'), versions: ['v1'] },
    { name: 'b', endpoint: '/elsewhere', versions: ['v1', 'v2'] },
  ])
  await first.remove()
  await expect.poll(() => seen).toEqual(['+a', '+b', '-a'])
})

it('a socket in the place of another one is let go, then registered anew', async () => {
  await watchPlugins()
  const before = await plug('a-reg.sock')
  await expect.poll(() => before.told).toEqual([fine])
  // listenOn removes what is there, as restarted plugins do.
  const after = await plug('a-reg.sock')
  await expect.poll(() => after.told).toEqual([fine])
  expect(seen).toEqual(['+a', '-a', '+a'])
})

it('sockets in folders below are found: in one that is there, that is made, that is made again', async () => {
  await mkdir(join(registry(), 'there'), { recursive: true })
  await watchPlugins()
  for (const path of ['there/a.sock', 'new/deep/b.sock']) {
    const name = path.at(-6) ?? ''
    const plugin = await plug(path, { name })
    await expect.poll(() => plugin.told).toEqual([fine])
  }
  await rm(join(registry(), 'there'), { recursive: true })
  await expect.poll(() => seen).toEqual(['+a', '+b', '-a'])
  const again = await plug('there/c.sock', { name: 'c' })
  await expect.poll(() => again.told).toEqual([fine])
})

it('a folder in the place of another one is watched like that', async () => {
  await mkdir(join(registry(), 'there'), { recursive: true })
  await mkdir(join(folder, 'new'))
  await watchPlugins()
  // In one go: nobody sees the folder missing.
  renameSync(join(registry(), 'there'), join(folder, 'old'))
  renameSync(join(folder, 'new'), join(registry(), 'there'))
  const first = await plug('first.sock', { name: 'first' })
  await expect.poll(() => first.told).toEqual([fine]) // all before has been seen
  const plugin = await plug('there/a.sock')
  await expect.poll(() => plugin.told).toEqual([fine])
})

it('files, dot names and what has gone meanwhile are passed over', async () => {
  await mkdir(registry())
  await writeFile(join(registry(), 'a-reg.sock'), 'no socket')
  const hidden = await plug('.hidden.sock')
  await watchPlugins()
  const shown = await plug('b.sock', { name: 'b' })
  await expect.poll(() => shown.told).toEqual([fine])
  expect(seen).toEqual(['+b'])
  expect(hidden.told).toEqual([])
})

it('the folder is open to plugins of any user', async () => {
  const before = process.umask(0o022)
  try {
    await watchPlugins()
  } finally {
    process.umask(before)
  }
  expect((await stat(registry())).mode & 0o777).toBe(0o755)
})

it('a plugin of a type that nobody uses is told so', async () => {
  await watchPlugins()
  const plugin = await plug('a-reg.sock', { type: 'CSIPlugin', name: '', endpoint: 'a.sock' })
  await expect.poll(() => plugin.told.length).toBeGreaterThan(0)
  const error = `no handler registered for plugin type: CSIPlugin at socket ${join(registry(), 'a-reg.sock')}`
  expect(plugin.told[0]).toEqual({ pluginRegistered: false, error })
  expect(seen).toEqual([])
})

it('a plugin that cannot be told that it is used is let go, and asked again', async () => {
  await watchPlugins(undefined, quickClock)
  const plugin = await plug('a-reg.sock', {}, 1)
  await expect.poll(() => plugin.told).toEqual([fine, fine])
  expect(seen).toEqual(['+a', '-a', '+a'])
})

it('waits half a second after a failure, then twice as long, up to two minutes and two seconds', async () => {
  const waits: number[] = []
  const { promise: enough, resolve } = Promise.withResolvers<void>()
  const clock: Clock = {
    now: Date.now,
    after(ms, call) {
      waits.push(ms)
      if (waits.length < 10) setImmediate(call)
      else resolve()
      return () => {}
    },
  }
  await plug('a-reg.sock')
  await watchPlugins(async () => Promise.reject(new Error('never')), clock)
  await enough
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 122_000, 122_000])
})

test.each([
  [{ name: '' }, 'the plugin has no name'],
  [{ endpoint: 'a.sock' }, 'endpoint "a.sock": must be an absolute path'],
])('a plugin with %j is refused', async (info, error) => {
  await watchPlugins()
  const plugin = await plug('a-reg.sock', info)
  await expect.poll(() => plugin.told.length).toBeGreaterThan(0)
  expect(plugin.told[0]).toEqual({ pluginRegistered: false, error })
  expect(seen).toEqual([])
})

it('one that waits for another of its name to go comes as soon as that is gone', async () => {
  const sockets = new Set<string>()
  const slowClock: Clock = { now: Date.now, after: () => () => {} }
  await watchPlugins(async ({ endpoint }) => {
    if (sockets.size === 1 && !seen.includes('-a')) throw new Error('another one is there')
    sockets.add(endpoint)
  }, slowClock)
  const first = await plug('a1.sock')
  await expect.poll(() => first.told).toEqual([fine])
  const second = await plug('a2.sock')
  await expect.poll(() => second.told.length).toBe(1)
  await first.remove()
  await expect.poll(() => second.told).toEqual([{ pluginRegistered: false, error: 'another one is there' }, fine])
  expect(seen).toEqual(['+a', '+a', '-a', '+a'])
})

it('a plugin that is refused is told why, and asked again later', async () => {
  let failures = 2
  await watchPlugins(async () => {
    if (failures-- > 0) throw new Error('not yet')
  }, quickClock)
  const plugin = await plug('a-reg.sock')
  const refused = { pluginRegistered: false, error: 'not yet' }
  await expect.poll(() => plugin.told).toEqual([refused, refused, fine])
  await plugin.remove()
  await expect.poll(() => seen).toEqual(['+a', '+a', '+a', '-a'])
})

it('a socket that is there before its plugin listens is waited for', async () => {
  await watchPlugins()
  const path = join(registry(), 'late.sock')
  await mkdir(dirname(path), { recursive: true })
  // Bound elsewhere, closed, and put there: nobody listens.
  const stale = createServer().listen(join(folder, 'stale'))
  await new Promise((resolve) => stale.once('listening', resolve))
  await rename(join(folder, 'stale'), path)
  await new Promise((resolve) => stale.close(resolve))
  const other = await plug('other.sock', { name: 'other' })
  await expect.poll(() => other.told).toEqual([fine]) // nobody waits for the silent one
  const plugin = await plug('late.sock', { name: 'late' })
  await expect.poll(() => plugin.told).toEqual([fine])
  expect(seen).toEqual(['+other', '+late'])
})

it('a plugin that does not answer holds nobody up, and is given up with its socket or the watcher', async () => {
  const watcher = await watchPlugins(async () => {})
  const silent = createServer(() => undefined).listen(join(registry(), 'silent.sock'))
  opened.defer(() => void silent.close())
  const plugin = await plug('a.sock')
  await expect.poll(() => plugin.told).toEqual([fine])
  const began = Date.now()
  await watcher[Symbol.asyncDispose]()
  expect(Date.now() - began).toBeLessThan(8000)
  expect(seen).toEqual(['+a'])
})
