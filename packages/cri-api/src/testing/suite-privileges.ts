// What a container may do: capabilities, privileges, paths.
import { match, notStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import type { DeepPartial, LinuxContainerSecurityContext } from '../gen/runtime.ts'
import { type Checks, SuiteSkip, type ValidationRuntime } from './suite-checks.ts'
import { openPod } from './suite-pod.ts'

/** The sets of its commands, as bits. */
async function capabilities(
  runtime: ValidationRuntime,
  context: DeepPartial<LinuxContainerSecurityContext>,
): Promise<Record<string, bigint>> {
  await using pod = await openPod(runtime)
  const text = await pod.output(await pod.secure(context), 'cat', '/proc/self/status')
  const lines = [...text.matchAll(/^(Cap\w+):\s*([0-9a-f]+)$/gm)]
  return Object.fromEntries(lines.map(([, name = '', bits = '']) => [name, BigInt(`0x${bits}`)]))
}
const bit = (number: number): bigint => 1n << BigInt(number)
const [netAdmin, netRaw, sysAdmin] = [bit(12), bit(13), bit(21)]

/** Whether it may make network links in a pod. */
async function makesLinks(
  runtime: ValidationRuntime,
  context: DeepPartial<LinuxContainerSecurityContext>,
): Promise<boolean> {
  await using pod = await openPod(runtime, { linux: { securityContext: { privileged: context.privileged === true } } })
  const id = await pod.secure(context)
  return (await pod.result(id, 'ip', 'link', 'add', 'test', 'type', 'bridge')).exitCode === 0
}

/** A setuid program of root's by user 1000: the user that it runs as. */
async function escalated(runtime: ValidationRuntime, noNewPrivs: boolean): Promise<string> {
  await using pod = await openPod(runtime)
  const image = { image: runtime.image('setuid:1') }
  const securityContext = { noNewPrivs, runAsUser: { value: 1000n } }
  const id = await pod.run({ image, command: ['/bin/sleep', '600'], linux: { securityContext } })
  return (await pod.result(id, '/bin/su', '-c', 'id -u')).stdout
}

async function appArmor(): Promise<boolean> {
  try {
    return (await readFile('/sys/module/apparmor/parameters/enabled', 'utf8')).startsWith('Y')
  } catch {
    return false // the kernel has no such module
  }
}

export const privilegeChecks: Checks = {
  async 'links are made with NET_ADMIN or privileges, and not without'(runtime) {
    strictEqual(await makesLinks(runtime, {}), false)
    strictEqual(await makesLinks(runtime, { capabilities: { addCapabilities: ['NET_ADMIN'] } }), true)
    strictEqual(await makesLinks(runtime, { privileged: true }), true)
  },
  async 'an added capability is in the effective, permitted and bounding sets'(runtime) {
    const { CapEff, CapPrm, CapBnd } = await capabilities(runtime, {
      capabilities: { addCapabilities: ['NET_ADMIN', 'SYS_ADMIN'] },
    })
    for (const set of [CapEff, CapPrm, CapBnd]) strictEqual((set ?? 0n) & (netAdmin | sysAdmin), netAdmin | sysAdmin)
  },
  async 'a capability may be named in full, and in small letters'(runtime) {
    const { CapEff } = await capabilities(runtime, {
      capabilities: { addCapabilities: ['CAP_NET_ADMIN', 'sys_admin'], dropCapabilities: ['cap_net_raw'] },
    })
    strictEqual((CapEff ?? 0n) & (netAdmin | netRaw | sysAdmin), netAdmin | sysAdmin)
  },
  async 'a dropped capability is in no set'(runtime) {
    const dropped = { capabilities: { dropCapabilities: ['NET_RAW'] } }
    for (const set of Object.values(await capabilities(runtime, dropped))) strictEqual(set & netRaw, 0n)
    ok(((await capabilities(runtime, {}))['CapEff'] ?? 0n) & netRaw)
  },
  async 'ping fails without NET_RAW, and works with it'(runtime) {
    await using pod = await openPod(runtime)
    const without = await pod.secure({ capabilities: { dropCapabilities: ['NET_RAW'] } })
    match((await pod.result(without, 'ping', '-c1', '127.0.0.1')).stderr, /permission denied/)
    match(await pod.output(await pod.run(), 'ping', '-c1', '127.0.0.1'), / 0% packet loss/)
  },
  async 'ALL added: more than the default, NET_ADMIN too'(runtime) {
    const { CapBnd } = await capabilities(runtime, { capabilities: { addCapabilities: ['ALL'] } })
    ok((CapBnd ?? 0n) & netAdmin)
    notStrictEqual(CapBnd, (await capabilities(runtime, {}))['CapBnd'])
  },
  async 'ALL dropped: none; what is added to that stays alone'(runtime) {
    const none = await capabilities(runtime, { capabilities: { dropCapabilities: ['ALL'] } })
    for (const set of Object.values(none)) strictEqual(set, 0n)
    const one = await capabilities(runtime, {
      capabilities: { dropCapabilities: ['ALL'], addCapabilities: ['NET_RAW'] },
    })
    strictEqual(one['CapEff'], netRaw)
  },
  async 'nothing is inheritable'(runtime) {
    strictEqual((await capabilities(runtime, {}))['CapInh'], 0n)
  },
  async 'a privileged container in a pod that is not is refused'(runtime) {
    await using pod = await openPod(runtime)
    await rejects(pod.secure({ privileged: true }), /no privileged container allowed in sandbox/)
  },
  async 'a privileged one has the devices of the host, another the usual few'(runtime) {
    await using pod = await openPod(runtime, { linux: { securityContext: { privileged: true } } })
    const devices = async (privileged: boolean): Promise<string[]> =>
      (await pod.output(await pod.secure({ privileged }), 'ls', '/dev')).trim().split('\n')
    const [few, many] = [await devices(false), await devices(true)]
    ok(many.length > few.length, `${many.join(' ')} against ${few.join(' ')}`)
    for (const name of ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'ptmx', 'fd', 'shm', 'pts']) {
      ok(few.includes(name), `/dev/${name}`)
    }
  },
  async 'a device of the host'(runtime) {
    await using pod = await openPod(runtime)
    const device = { hostPath: '/dev/null', containerPath: '/dev/other', permissions: 'rw' }
    const id = await pod.run({ devices: [device] })
    strictEqual(await pod.output(id, 'sh', '-c', 'echo gone >/dev/other; cat /dev/other; test -c /dev/other'), '')
  },
  async 'the root file system is writable, and read-only when asked'(runtime) {
    await using pod = await openPod(runtime)
    const command = ['touch', '/file']
    await pod.output(await pod.secure({ readonlyRootfs: false }), ...command)
    match((await pod.result(await pod.secure({ readonlyRootfs: true }), ...command)).stderr, /Read-only file system/)
  },
  async 'masked paths cannot be read or run'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ maskedPaths: ['/bin/masked', '/proc/acpi', '/no/such'] })
    match((await pod.result(id, 'sh', '-c', '/bin/masked')).stderr, /Permission denied/)
    strictEqual(await pod.output(id, 'cat', '/bin/masked'), '')
  },
  async 'read-only paths cannot be written'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ readonlyPaths: ['/tmp', '/no/such'] })
    const { stderr } = await pod.result(id, 'touch', '/tmp/file')
    strictEqual(stderr, 'touch: /tmp/file: Read-only file system\n')
  },
  async 'a setuid program gives no privileges with noNewPrivs'(runtime) {
    strictEqual(await escalated(runtime, true), '')
    strictEqual(await escalated(runtime, false), '0\n')
  },
  async 'an AppArmor profile that is not loaded is refused'(runtime) {
    await using pod = await openPod(runtime)
    if (!(await appArmor())) {
      await rejects(pod.secure({ apparmor: { profileType: 2, localhostRef: 'no-such-profile' } }), /apparmor/i)
      throw new SuiteSkip('the kernel has no AppArmor: shown is only that a profile is refused')
    }
    await rejects(pod.secure({ apparmor: { profileType: 2, localhostRef: 'no-such-profile' } }), /no-such-profile/)
  },
}
