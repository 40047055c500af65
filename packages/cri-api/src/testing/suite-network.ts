// Addresses, names and ports of pods.
import { deepStrictEqual, match, notStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { type DeepPartial, NamespaceMode, type PodSandboxConfig, Protocol } from '../gen/runtime.ts'
import { type Checks, eventually, type ValidationRuntime } from './suite-checks.ts'
import { openPod, podConfig } from './suite-pod.ts'

const page = async (address: string): Promise<string> =>
  eventually(`http://${address} answers`, async () => {
    try {
      return await (await fetch(`http://${address}/`, { signal: AbortSignal.timeout(2000) })).text()
    } catch {
      return undefined // it does not listen yet
    }
  })

async function sysctl(runtime: ValidationRuntime, name: string, value: string): Promise<string> {
  await using pod = await openPod(runtime, { linux: { sysctls: { [name]: value } } })
  return (await pod.output(await pod.run(), 'cat', `/proc/sys/${name.replaceAll('.', '/')}`)).trim()
}

async function refused(runtime: ValidationRuntime, given: DeepPartial<PodSandboxConfig>): Promise<void> {
  const config = podConfig(runtime, given)
  await rejects(runtime.runtimeService.runPodSandbox({ config, runtimeHandler: runtime.handler }))
}
const onHost = { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } }

export const networkChecks: Checks = {
  async 'a pod has an address of its own, which its containers have'(runtime) {
    await using pod = await openPod(runtime)
    const { ip = '' } = (await pod.status()).network ?? {}
    ok(isIP(ip), ip)
    match(await pod.output(await pod.run(), 'ip', 'addr'), new RegExp(`inet6? ${ip.replaceAll('.', '\\.')}/`))
    await using other = await openPod(runtime)
    notStrictEqual((await other.status()).network?.ip, ip)
  },
  async 'the loopback link is up'(runtime) {
    await using pod = await openPod(runtime)
    match(await pod.output(await pod.run(), 'ip', 'link', 'show', 'lo'), /<LOOPBACK,UP/)
  },
  async 'DNS servers, searches and options'(runtime) {
    const dnsConfig = { servers: ['10.10.10.10', '10.10.10.11'], searches: ['a.example', 'b'], options: ['ndots:8'] }
    await using pod = await openPod(runtime, { dnsConfig })
    const text = await pod.output(await pod.run(), 'cat', '/etc/resolv.conf')
    deepStrictEqual(text.trim().split('\n').toSorted(), [
      'nameserver 10.10.10.10',
      'nameserver 10.10.10.11',
      'options ndots:8',
      'search a.example b',
    ])
  },
  async 'without DNS settings: those of the host; with empty ones: none'(runtime) {
    await using plain = await openPod(runtime)
    const command = ['cat', '/etc/resolv.conf']
    strictEqual(await plain.output(await plain.run(), ...command), await readFile('/etc/resolv.conf', 'utf8'))
    await using empty = await openPod(runtime, { dnsConfig: {} })
    strictEqual((await empty.output(await empty.run(), ...command)).includes('nameserver'), false)
  },
  async 'the host name'(runtime) {
    await using pod = await openPod(runtime, { hostname: 'test-hostname' })
    const id = await pod.run()
    strictEqual(await pod.output(id, 'hostname'), 'test-hostname\n')
    strictEqual(await pod.output(id, 'cat', '/etc/hostname'), 'test-hostname\n')
    strictEqual(await pod.output(id, 'sh', '-c', 'echo $HOSTNAME'), 'test-hostname\n')
  },
  async 'in the host network: the name of the host, and no address'(runtime) {
    await using pod = await openPod(runtime, { linux: onHost })
    strictEqual(await pod.output(await pod.run({ linux: onHost }), 'hostname'), `${hostname()}\n`)
    strictEqual((await pod.status()).network?.ip ?? '', '')
  },
  async 'a server is reached at the address of the pod'(runtime) {
    await using pod = await openPod(runtime, { portMappings: [{ containerPort: 80 }] })
    await pod.run({ image: { image: runtime.image('web:1') }, command: [] })
    strictEqual(await page(`${(await pod.status()).network?.ip}:80`), 'web page\n')
  },
  async 'a server is reached at a port of the host, until the pod is gone'(runtime) {
    const portMappings = [{ containerPort: 80, hostPort: 12_000, protocol: Protocol.TCP }]
    {
      await using pod = await openPod(runtime, { portMappings })
      await pod.run({ image: { image: runtime.image('web:1') }, command: [] })
      strictEqual(await page('127.0.0.1:12000'), 'web page\n')
    }
    await rejects(fetch('http://127.0.0.1:12000/', { signal: AbortSignal.timeout(2000) }))
  },
  async 'containers of a pod reach each other by loopback'(runtime) {
    await using pod = await openPod(runtime)
    await pod.run({ image: { image: runtime.image('web:1') }, command: [] })
    const client = await pod.run()
    await eventually('the page', async () => {
      const { stdout } = await pod.result(client, 'wget', '-qO-', 'http://127.0.0.1/')
      return stdout === 'web page\n'
    })
  },
  async 'safe and unsafe sysctls of the pod’s namespaces'(runtime) {
    strictEqual(await sysctl(runtime, 'kernel.shm_rmid_forced', '1'), '1')
    strictEqual(await sysctl(runtime, 'fs.mqueue.msg_max', '100'), '100')
    strictEqual(await sysctl(runtime, 'net.ipv4.ip_default_ttl', '77'), '77')
  },
  'a sysctl that is not of a namespace is refused': async (runtime) =>
    refused(runtime, { linux: { sysctls: { 'kernel.pid_max': '4194303' } } }),
  'a network sysctl in the host network is refused': async (runtime) =>
    refused(runtime, { linux: { ...onHost, sysctls: { 'net.ipv4.ip_default_ttl': '77' } } }),
}
