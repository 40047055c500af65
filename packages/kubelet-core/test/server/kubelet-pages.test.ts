// What the server of a whole kubelet shows of it.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { expect, test } from 'vitest'
import type { Kubelet } from '../../src/config.ts'
import { open, useFixture } from '../fixture.ts'

useFixture()

const server = { address: '127.0.0.1', port: 0 }
const forEverybody = {
  authentication: { anonymous: { enabled: true } },
  authorization: { mode: 'AlwaysAllow' },
} as const

async function ask({ port }: Kubelet, path: string, { method = 'GET', body = '' } = {}): Promise<string> {
  const outgoing = request({ host: '127.0.0.1', port, path, method, rejectUnauthorized: false, agent: false })
  outgoing.end(body)
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  return (await response.setEncoding('utf8').toArray()).join('')
}

test('flags, and a log that tells more or less', async () => {
  const levels: string[] = []
  const kubelet = await open({
    server,
    configuration: { ...forEverybody, maxPods: 7, logging: { verbosity: 5 } },
    setLogLevel: (level) => void levels.push(level),
  })
  const flags = (await ask(kubelet, '/flagz')).split('\n')
  expect(flags).toEqual(expect.arrayContaining(['hostname-override=node-1', 'node-ip=192.0.2.1', 'maxPods=7']))
  for (const body of ['3', '4']) await ask(kubelet, '/debug/flags/v', { method: 'PUT', body })
  expect(levels).toEqual(['debug', 'info', 'debug'])
})

test('what debugging handlers show is what the configuration says', async () => {
  const kubelet = await open({
    server,
    configuration: {
      ...forEverybody,
      enableSystemLogQuery: true,
      enableProfilingHandler: false,
      enableDebugFlagsHandler: false,
    },
  })
  expect(await ask(kubelet, '/logs/?query=a&boot=x')).toBe('boot: Invalid value: "x": is not an integer')
  expect(await ask(kubelet, '/debug/pprof/')).toBe('profiling endpoint is disabled.')
  expect(await ask(kubelet, '/debug/flags/v', { method: 'PUT', body: '1' })).toBe('flags endpoint is disabled.')
})
