import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LifecycleHandler } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { runHook } from '../src/index.ts'
import type { ExecInContainer, HookOptions, ProbeTarget } from '../src/index.ts'

const target: ProbeTarget = {
  pod: { metadata: { name: 'p', namespace: 'n', uid: 'u' } },
  container: { name: 'c' },
  containerId: 'id',
  podIP: '127.0.0.1',
  startedAt: 0,
}
const where = 'for Container "c" in Pod "p_n(u)" failed - error: '
const exec: ExecInContainer = async (_, command) => ({ exitCode: command.length - 1, output: 'said' })
const run = (handler: LifecycleHandler, rest: Partial<HookOptions> = {}): Promise<void> =>
  runHook(handler, target, { exec, ...rest })

test('exec: 0 is fine, other codes are told with the output', async () => {
  await run({ exec: { command: ['true'] } })
  await expect(run({ exec: { command: ['exit', '1'] } })).rejects.toThrow(
    `Exec lifecycle hook ([exit 1]) ${where}command 'exit 1' exited with 1: , message: "said"`,
  )
})

test('sleep: to its end, to the deadline, or to the abort', async () => {
  await run({ sleep: { seconds: 0 } })
  await expect(run({ sleep: { seconds: 60 } }, { timeoutMs: 20 })).rejects.toThrow(
    `Sleep lifecycle hook (60) ${where}not done after 0.02s`,
  )
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Error('pod is gone')), 20)
  await expect(run({ sleep: { seconds: 60 } }, { signal: controller.signal })).rejects.toThrow('pod is gone')
})

test('httpGet: user agent, statuses, and HTTPS that turns out to be plain', async () => {
  const agents: (string | undefined)[] = []
  const server = createServer(({ url, headers }, response) => {
    agents.push(headers['user-agent'])
    response.writeHead(url === '/bad' ? 500 : 301).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  try {
    await run({ httpGet: { port } })
    const hosts: string[] = []
    await run({ httpGet: { port, scheme: 'HTTPS' } }, { fellBack: (host) => hosts.push(host) })
    expect(hosts).toEqual([`127.0.0.1:${port}`])
    expect(agents).toEqual(['kube-lifecycle/1.36', 'kube-lifecycle/1.36'])
    await expect(run({ httpGet: { port, path: '/bad' } })).rejects.toThrow(
      `HTTP lifecycle hook (/bad) ${where}http://127.0.0.1:${port}/bad answered with status code 500`,
    )
  } finally {
    await new Promise((resolve) => server.close(resolve))
  }
  await expect(run({ httpGet: { port } })).rejects.toThrow(
    `${where}Get "http://127.0.0.1:${port}/": dial tcp 127.0.0.1:${port}: connect: connection refused`,
  )
})

test('tcpSocket is no hook', async () => {
  await expect(run({ tcpSocket: { port: 80 } })).rejects.toThrow('Cannot run handler: invalid handler: {"tcpSocket"')
})
