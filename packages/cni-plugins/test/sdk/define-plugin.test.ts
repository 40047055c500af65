import { expect, test } from 'vitest'
import { CniError, definePlugin } from '../../src/index.ts'
import type { CniResult, Host, PluginRequest, StandardSchema } from '../../src/index.ts'
import { execute } from '../../src/sdk/execute.ts'

const signal = new AbortController().signal
const result: CniResult = { cniVersion: '1.0.0', interfaces: [], ips: [], routes: [], dns: {} }
const hostOf = (settle: () => Promise<void> = async () => undefined): Host => ({
  addressDir: '/nonexistent',
  log: { warn: () => undefined },
  changeRules: () => undefined,
  settleRules: settle,
  plugin: () => {
    throw new Error('there is no other plugin')
  },
})
const request = (more: Partial<PluginRequest['network']> = {}, config: object = {}): PluginRequest => ({
  network: { containerId: 'c', netns: '/n', ifName: 'eth0', args: {}, ...more },
  config: { type: 'x', name: 'net', cniVersion: '1.0.0', ...config },
})

/** Of no library: what the standard asks for, and no more. */
const positive: StandardSchema<{ size: number }> = {
  '~standard': {
    version: 1,
    validate: async (value) => {
      const { size } = value as { size?: unknown }
      if (typeof size === 'number' && size > 0) return { value: { size } }
      return { issues: [{ message: 'must be above 0', path: [{ key: 'ipam' }, 'size'] }] }
    },
  },
}

test('a configuration is checked by any Standard Schema before a verb sees it', async () => {
  const seen: unknown[] = []
  const plugin = definePlugin({
    name: 'x',
    config: positive,
    add: async ({ config, networkName, cniVersion }) => {
      seen.push(config.size, networkName, cniVersion)
      return result
    },
    del: async () => undefined,
  })
  await plugin.add(request({}, { size: 7 }), hostOf(), signal)
  expect(seen).toEqual([7, 'net', '1.0.0'])
  const calls = [
    plugin.add(request(), hostOf(), signal),
    plugin.del(request(), hostOf(), signal),
    plugin.check({ ...request(), prevResult: result }, hostOf(), signal),
    plugin.gc(request().config, [], hostOf(), signal),
    plugin.status(request().config, hostOf(), signal),
  ]
  for (const call of calls) {
    await expect(call).rejects.toMatchObject({ code: 7, message: 'x: ipam.size: must be above 0' })
  }
})

test('arguments that it does not know are refused, unless they may be ignored', async () => {
  const plugin = definePlugin({
    name: 'x',
    args: ['IP'],
    config: () => ({}),
    add: async () => result,
    del: async () => undefined,
  })
  await plugin.add(request({ args: { IP: '10.0.0.1' } }), hostOf(), signal)
  await plugin.add(request({ args: { MAC: 'm', IgnoreUnknown: 'true' } }), hostOf(), signal)
  await expect(plugin.add(request({ args: { MAC: 'm', IgnoreUnknown: '0' } }), hostOf(), signal)).rejects.toMatchObject(
    {
      code: 4,
      message: 'ARGS: unknown args ["MAC=m"]',
    },
  )
})

test("the machine's own namespace is refused, unless that is wanted", async () => {
  const plugin = definePlugin({ name: 'x', config: () => ({}), add: async () => result, del: async () => undefined })
  const own = request({ netns: '/proc/self/ns/net' })
  await expect(plugin.add(own, hostOf(), signal)).rejects.toMatchObject({ code: 8 })
  process.env['CNI_NETNS_OVERRIDE'] = 'true'
  try {
    await plugin.add(own, hostOf(), signal)
  } finally {
    delete process.env['CNI_NETNS_OVERRIDE']
  }
})

test('a program whose rules cannot be made undoes its ADD and prints why', async () => {
  const undone: (CniResult | undefined)[] = []
  const plugin = definePlugin({
    name: 'x',
    config: () => ({}),
    add: async () => result,
    del: async ({ prevResult }) => void undone.push(prevResult),
  })
  const host = hostOf(async () => {
    throw new CniError(50, 'no table', { details: 'nat' })
  })
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: '/n', CNI_IFNAME: 'eth0', CNI_PATH: '/bin' }
  const stdin = async () => '{"name":"net","type":"x","cniVersion":"1.0.0"}'
  const { stdout, exitCode } = await execute(plugin, { env, stdin, host, signal })
  expect([JSON.parse(stdout), exitCode]).toEqual([
    { cniVersion: '1.0.0', code: 50, msg: 'no table', details: 'nat' },
    1,
  ])
  expect(undone).toEqual([result])
})

test('an error that is not of CNI gets the code 999', async () => {
  const plugin = definePlugin({
    name: 'x',
    config: () => ({}),
    add: async () => Promise.reject(new Error('broken')),
    del: async () => undefined,
  })
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: '/n', CNI_IFNAME: 'eth0', CNI_PATH: '/bin' }
  const stdin = async () => '{"name":"net","type":"x","cniVersion":"0.4.0"}'
  const { stdout } = await execute(plugin, { env, stdin, host: hostOf(), signal })
  expect(stdout).toBe('{\n    "cniVersion": "0.4.0",\n    "code": 999,\n    "msg": "broken"\n}\n')
})
