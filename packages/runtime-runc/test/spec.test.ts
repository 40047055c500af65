import {
  ContainerConfig,
  MountPropagation,
  NamespaceMode,
  PodSandboxConfig,
  SecurityProfile_ProfileType,
} from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { describe, expect, test } from 'vitest'
import { CAPABILITIES, capabilitiesOfMask, containerCapabilities, DEFAULT_CAPABILITIES } from '../src/capabilities.ts'
import { deviceNumbers } from '../src/container/devices.ts'
import { buildSpec } from '../src/index.ts'
import type { HandlerFacts, HostFacts, ImageConfig, OciSpec, SandboxFacts } from '../src/index.ts'
import { parseLog } from '../src/log.ts'
import { parseSignal } from '../src/signals.ts'
import { clampOomScore, containerArgs, containerEnv } from '../src/spec/process.ts'
import { cgroupsPath, containerCgroup, expandSlice } from '../src/spec/cgroup-path.ts'
import { defaultSeccomp } from '../src/spec/seccomp.ts'

const host: HostFacts = {
  arch: 'amd64',
  kernel: [6, 18],
  cgroupVersion: 1,
  cgroupOptions: [],
  swapLimit: true,
  capabilities: CAPABILITIES,
  oomScoreAdj: 0,
  canLowerOomScore: true,
  seccomp: true,
  selinux: false,
}
const sandbox: SandboxFacts = {
  id: 'pod1',
  hostname: 'web-0',
  networkPath: '/ns/net',
  ipcPath: '/ns/ipc',
  utsPath: '/ns/uts',
  hostnameFile: '/pod/hostname',
  hostsFile: '/pod/hosts',
  shmPath: '/pod/shm',
}

type Config = DeepPartial<ContainerConfig>
type Overrides = {
  host?: Partial<HostFacts>
  sandbox?: Partial<SandboxFacts>
  privilegedPod?: boolean
  targetPid?: number
  handler?: Partial<HandlerFacts>
  podAnnotations?: Record<string, string>
}

const noFeatures = { recursiveReadOnlyMounts: false, userNamespaces: false }

function spec(config: Config, image: ImageConfig = { Cmd: ['/bin/true'] }, more: Overrides = {}): OciSpec {
  const container = ContainerConfig.fromPartial({
    ...config,
    linux: {
      ...config.linux,
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, ...config.linux?.securityContext },
    },
  })
  return buildSpec({
    container,
    sandbox: PodSandboxConfig.fromPartial({
      metadata: { name: 'web', namespace: 'default', uid: 'u1' },
      annotations: more.podAnnotations ?? {},
      linux: { cgroupParent: '/kubepods/podu1', securityContext: { privileged: more.privilegedPod ?? false } },
    }),
    image,
    facts: {
      ...(more.handler && { handler: { features: noFeatures, cgroupDriver: 'cgroupfs' as const, ...more.handler } }),
      container: {
        id: 'c1',
        rootfs: '/root',
        user: { uid: 0, gid: 0, additionalGids: [0] },
        sources: {
          '/shared': { path: '/shared', propagation: 'shared' },
          '/slave': { path: '/slave', propagation: 'slave' },
          '/private': { path: '/real/private', propagation: 'private' },
        },
        imageVolumes: Object.fromEntries(Object.keys(image.Volumes ?? {}).map((path) => [path, `/volumes${path}`])),
        devices: {
          '/dev/fuse': [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 }],
        },
        hostDevices: [{ path: '/dev/vda', type: 'b', major: 254, minor: 0, fileMode: 0o660, uid: 0, gid: 6 }],
        ...(more.targetPid === undefined ? {} : { targetPid: more.targetPid }),
      },
      sandbox: { ...sandbox, ...more.sandbox },
      host: { ...host, ...more.host },
    },
  })
}

test.each<[string, string[], string[], ImageConfig, string[]]>([
  ['command and args replace the image', ['c'], ['a'], { Entrypoint: ['E'], Cmd: ['C'] }, ['c', 'a']],
  ['a command drops the image arguments', ['c'], [], { Entrypoint: ['E'], Cmd: ['C'] }, ['c']],
  ['args keep the entrypoint', [], ['a'], { Entrypoint: ['E'], Cmd: ['C'] }, ['E', 'a']],
  ['nothing keeps the image', [], [], { Entrypoint: ['E'], Cmd: ['C'] }, ['E', 'C']],
  ['an empty entrypoint counts as none', [], [], { Entrypoint: [''], Cmd: ['C'] }, ['C']],
  ['null is none', [], [], { Entrypoint: null, Cmd: ['C'] }, ['C']],
])('args: %s', (_, command, args, image, expected) => {
  expect(containerArgs({ command, args }, image)).toEqual(expected)
})

test('args: nothing to run is an error', () => {
  expect(() => spec({}, {})).toThrow('no command specified')
})

test('env: defaults, image, then container; later wins in the first place', () => {
  const envs = [
    { key: 'B', value: Buffer.from('3=4') },
    { key: 'A', value: Buffer.from('') },
  ]
  const image = { Env: ['PATH=/x', 'A=1', 'HOSTNAME=image'] }
  expect(containerEnv({ envs, tty: true }, image, 'h')).toEqual([
    'PATH=/x',
    'TERM=xterm',
    'HOSTNAME=image',
    'A=',
    'B=3=4',
  ])
})

test('cwd: the container, the image, the root; never relative', () => {
  expect(spec({ workingDir: '/w' }, { Cmd: ['x'], WorkingDir: '/i' }).process.cwd).toBe('/w')
  expect(spec({}, { Cmd: ['x'], WorkingDir: '/i' }).process.cwd).toBe('/i')
  expect(spec({}).process.cwd).toBe('/')
  expect(() => spec({ workingDir: 'w' })).toThrow('not absolute')
})

test.each([
  [-998, true, 0, -998],
  [-998, false, 0, 0],
  [-998, false, -500, -500],
  [1000, false, 0, 1000],
])('oom score %i, may lower %s, own %i gives %i', (asked, canLowerOomScore, oomScoreAdj, expected) => {
  expect(clampOomScore(asked, { canLowerOomScore, oomScoreAdj })).toBe(expected)
})

describe('capabilities', () => {
  const of = (add: string[], drop: string[], ambient: string[] = [], available: readonly string[] = CAPABILITIES) =>
    containerCapabilities(
      { addCapabilities: add, dropCapabilities: drop, addAmbientCapabilities: ambient },
      false,
      available,
    )

  test.each<[string, string[], string[], string[]]>([
    ['defaults', [], [], [...DEFAULT_CAPABILITIES]],
    ['drop all, add one', ['net_bind_service'], ['ALL'], ['CAP_NET_BIND_SERVICE']],
    ['add all', ['all'], [], [...CAPABILITIES]],
    ['add all, drop one', ['ALL'], ['CAP_SYS_ADMIN'], CAPABILITIES.filter((name) => name !== 'CAP_SYS_ADMIN')],
    ['drop one', [], ['Chown'], DEFAULT_CAPABILITIES.filter((name) => name !== 'CAP_CHOWN')],
  ])('%s', (_, add, drop, expected) => {
    const sets = of(add, drop)
    expect(sets.bounding.toSorted()).toEqual(expected.toSorted())
    expect([sets.permitted, sets.effective, sets.inheritable, sets.ambient]).toEqual([
      sets.bounding,
      sets.bounding,
      [],
      [],
    ])
  })

  test('what this process does not hold is left out', () => {
    expect(of(['SYS_ADMIN'], [], [], DEFAULT_CAPABILITIES).bounding).not.toContain('CAP_SYS_ADMIN')
  })

  test('ambient ones are in all sets', () => {
    const sets = of([], ['ALL'], ['NET_ADMIN'])
    expect(Object.values(sets)).toEqual(Array.from({ length: 5 }, () => ['CAP_NET_ADMIN']))
  })

  test('an unknown name is an error', () => {
    expect(() => of(['FLY'], [])).toThrow('unknown capability "FLY"')
  })

  test('a mask is read by bits', () => {
    expect(capabilitiesOfMask('0000000000000401')).toEqual(['CAP_CHOWN', 'CAP_NET_BIND_SERVICE'])
    expect(capabilitiesOfMask('000001ffffffffff')).toEqual(CAPABILITIES)
  })
})

describe('namespaces', () => {
  const of = (options: object, more: Overrides = {}) =>
    spec({ linux: { securityContext: { namespaceOptions: options } } }, undefined, more).linux.namespaces

  test('a pod member joins the pinned ones', () => {
    expect(of({ pid: NamespaceMode.CONTAINER })).toEqual([
      { type: 'mount' },
      { type: 'network', path: '/ns/net' },
      { type: 'uts', path: '/ns/uts' },
      { type: 'ipc', path: '/ns/ipc' },
      { type: 'pid' },
    ])
  })

  test('the host ones are left out', () => {
    const node = NamespaceMode.NODE
    expect(of({ network: node, ipc: node, pid: node })).toEqual([{ type: 'mount' }])
  })

  test('the PID namespace of the pod or of another container', () => {
    expect(of({ pid: NamespaceMode.POD }, { sandbox: { pidPath: '/ns/pid' } })).toContainEqual({
      type: 'pid',
      path: '/ns/pid',
    })
    expect(of({ pid: NamespaceMode.TARGET, targetId: 'x' }, { targetPid: 42 })).toContainEqual({
      type: 'pid',
      path: '/proc/42/ns/pid',
    })
    expect(() => of({ pid: NamespaceMode.POD })).toThrow('has no pid namespace to join')
    expect(() => of({ pid: NamespaceMode.TARGET, targetId: 'x' })).toThrow('target container "x" is not running')
  })

  test('a cgroup namespace only on version 2', () => {
    expect(of({ pid: NamespaceMode.CONTAINER }, { host: { cgroupVersion: 2 } })).toContainEqual({ type: 'cgroup' })
  })

  test("the pod's user namespace comes first, and is asked for by each container", () => {
    const line = { containerId: 0, hostId: 100_000, length: 5 }
    const userNamespace = { path: '/ns/user', uids: [line], gids: [line] }
    const usernsOptions = { mode: NamespaceMode.POD, uids: [line], gids: [line] }
    const namespaceOptions = { pid: NamespaceMode.CONTAINER, usernsOptions }
    const config = { linux: { securityContext: { namespaceOptions } } }
    const { linux, mounts } = spec(config, { Cmd: ['true'] }, { sandbox: { userNamespace } })
    expect(linux.namespaces[0]).toEqual({ type: 'user', path: '/ns/user' })
    const mapping = [{ containerID: 0, hostID: 100_000, size: 5 }]
    expect(linux).toMatchObject({ uidMappings: mapping, gidMappings: mapping })
    // Group 5 is not mapped.
    expect(mounts.find(({ destination }) => destination === '/dev/pts')?.options).not.toContain('gid=5')
    expect(mounts.find(({ destination }) => destination === '/sys')?.type).toBe('sysfs')
    const differs = "the container's user namespace differs from its sandbox's"
    expect(() => of({ usernsOptions })).toThrow(differs)
    expect(() => of({}, { sandbox: { userNamespace } })).toThrow(differs)
    const one = { mode: NamespaceMode.POD, uids: [line], gids: [] }
    expect(() => of({ usernsOptions: one }, { sandbox: { userNamespace } })).toThrow('exactly one gid mapping, not 0')
  })

  test("a user namespace in the node's network sees the node's /sys, read-only", () => {
    const line = { containerId: 0, hostId: 100_000, length: 65_536 }
    const { networkPath: _net, utsPath: _uts, ...rest } = sandbox
    const options = { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER }
    const usernsOptions = { mode: NamespaceMode.POD, uids: [line], gids: [line] }
    const config = { linux: { securityContext: { namespaceOptions: { ...options, usernsOptions } } } }
    const { mounts } = buildSpec({
      container: ContainerConfig.fromPartial(config),
      sandbox: PodSandboxConfig.fromPartial({ linux: { cgroupParent: '/p' } }),
      image: { Cmd: ['true'] },
      facts: {
        container: {
          id: 'c',
          rootfs: '/root',
          user: { uid: 0, gid: 0, additionalGids: [] },
          sources: {},
          imageVolumes: {},
          devices: {},
          hostDevices: [],
        },
        sandbox: { ...rest, userNamespace: { path: '/ns/user', uids: [line], gids: [line] } },
        host,
      },
    })
    expect(mounts.find(({ destination }) => destination === '/sys')).toMatchObject({
      type: 'bind',
      source: '/sys',
      options: expect.arrayContaining(['rbind', 'rro']),
    })
    expect(mounts.find(({ destination }) => destination === '/dev/pts')?.options).toContain('gid=5')
  })
})

describe('mounts', () => {
  const mount = (containerPath: string, hostPath: string, more: object = {}) => ({ containerPath, hostPath, ...more })
  const destinations = (config: Config, image?: ImageConfig) =>
    spec(config, image).mounts.map(({ destination }) => destination)

  test('defaults and the files of the sandbox, parents first', () => {
    expect(destinations({})).toEqual([
      '/proc', '/dev', '/sys', '/dev/pts', '/dev/mqueue', '/etc/hostname', '/etc/hosts', '/dev/shm', '/sys/fs/cgroup',
    ]) // prettier-ignore
  })

  test('a mount of the container replaces the default, and /dev all below it', () => {
    expect(destinations({ mounts: [mount('/etc/hosts/', '/private'), mount('/dev', '/shared')] })).toEqual([
      '/proc', '/sys', '/dev', '/etc/hostname', '/etc/hosts', '/sys/fs/cgroup',
    ]) // prettier-ignore
  })

  test('volumes of the image, unless mounted', () => {
    const image = { Cmd: ['x'], Volumes: { '/data': {}, '/more': {} } }
    const { mounts } = spec({ mounts: [mount('/more', '/private')] }, image)
    expect(mounts).toContainEqual({
      destination: '/data',
      type: 'bind',
      source: '/volumes/data',
      options: ['rbind', 'rprivate', 'rw'],
    })
    expect(mounts.filter(({ destination }) => destination === '/more').map(({ source }) => source)).toEqual([
      '/real/private',
    ])
  })

  test('read-only ways', () => {
    const options = (more: object) =>
      spec({ mounts: [mount('/m', '/private', more)] }).mounts.find(({ destination }) => destination === '/m')?.options
    expect(options({ readonly: true })).toEqual(['rbind', 'rprivate', 'ro'])
    expect(options({ readonly: true, recursiveReadOnly: true })).toEqual(['rbind', 'rprivate', 'rro'])
    expect(() => options({ recursiveReadOnly: true })).toThrow('conflicts with RW mount')
  })

  test.each([
    [MountPropagation.PROPAGATION_BIDIRECTIONAL, '/shared', 'rshared', 'rshared'],
    [MountPropagation.PROPAGATION_HOST_TO_CONTAINER, '/slave', 'rslave', 'rslave'],
    [MountPropagation.PROPAGATION_PRIVATE, '/shared', 'rprivate', undefined],
  ])('propagation %i from %s is %s', (propagation, hostPath, option, root) => {
    const { mounts, linux } = spec({ mounts: [mount('/m', hostPath, { propagation })] })
    expect(mounts.find(({ destination }) => destination === '/m')?.options).toContain(option)
    expect(linux.rootfsPropagation).toBe(root)
  })

  test.each<[string, Config, string]>([
    ['bidirectional on private', { mounts: [mount('/m', '/private', { propagation: 2 })] }, 'is not on a shared mount'],
    ['missing source', { mounts: [mount('/m', '/none')] }, 'host path /none does not exist'],
    ['image volume', { mounts: [mount('/m', '', { image: { image: 'x' } })] }, 'has neither a host path nor an image'],
    ['unknown device', { devices: [{ hostPath: '/dev/none' }] }, 'device /dev/none is not a device'],
    [
      'privileged in a plain pod',
      { linux: { securityContext: { privileged: true } } },
      'no privileged container allowed',
    ],
  ])('%s is refused', (_, config, message) => {
    expect(() => spec(config)).toThrow(message)
  })
})

describe('resources', () => {
  test('zero is unset; a limit alone forbids swap where swap is counted', () => {
    const linux = { resources: { cpuShares: 512n, cpuQuota: -1n, memoryLimitInBytes: 1024n } }
    expect(spec({ linux }).linux.resources).toMatchObject({
      cpu: { shares: 512, quota: -1 },
      memory: { limit: 1024, swap: 1024 },
    })
    expect(spec({ linux }, undefined, { host: { swapLimit: false } }).linux.resources.memory).toEqual({ limit: 1024 })
    expect(spec({ linux: { resources: {} } }).linux.resources).toEqual({ devices: [{ allow: false, access: 'rwm' }] })
  })

  test('the cgroup is below the pod; slices are of the other driver', () => {
    expect(cgroupsPath('cgroupfs', '/kubepods/pod1/', 'c')).toBe('/kubepods/pod1/c')
    expect(cgroupsPath('cgroupfs', '', 'c')).toBe('/nodelet/c')
    expect(() => cgroupsPath('cgroupfs', '/kubepods.slice', 'c')).toThrow('cgroupDriver to cgroupfs')
  })

  test('with systemd the cgroup is a scope of the last slice', () => {
    const parent = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice'
    expect(cgroupsPath('systemd', parent, 'c')).toBe('kubepods-burstable-pod1.slice:nodelet:c')
    expect(containerCgroup('systemd', parent, 'c')).toBe(`${parent}/nodelet-c.scope`)
    expect(containerCgroup('systemd', 'a-b.slice', 'c')).toBe('/a.slice/a-b.slice/nodelet-c.scope')
    expect(cgroupsPath('systemd', '', 'c')).toBe('system.slice:nodelet:c')
    expect(() => cgroupsPath('systemd', '/kubepods/pod1', 'c')).toThrow('cgroupDriver to systemd')
    expect(expandSlice('-.slice')).toBe('/')
    for (const bad of ['a', 'a--b.slice', '/a.slice', '-a.slice']) expect(() => expandSlice(bad)).toThrow(bad)
  })

  test('a handler passes on annotations, opens cgroups, keeps devices back, and may lack recursive read-only', () => {
    const image = { Cmd: ['x'] }
    const { annotations } = spec({ annotations: { one: '1', two: '2' } }, image, {
      handler: { podAnnotations: ['a.b/*'], containerAnnotations: ['one'] },
      podAnnotations: { 'a.b/c': 'x', other: 'y' },
    })
    expect(annotations).toMatchObject({ one: '1', 'a.b/c': 'x' })
    expect(annotations).not.toHaveProperty('two')
    expect(annotations).not.toHaveProperty('other')
    const { mounts } = spec({}, image, { handler: { cgroupWritable: true } })
    expect(mounts.find(({ type }) => type === 'cgroup')?.options).toContain('rw')
    const privileged = { linux: { securityContext: { privileged: true } } }
    const kept = spec(privileged, image, { handler: { privilegedWithoutHostDevices: true }, privilegedPod: true })
    expect(kept.linux.resources.devices).toEqual([{ allow: false, access: 'rwm' }])
    const volume = { containerPath: '/m', hostPath: '/private', readonly: true, recursiveReadOnly: true }
    expect(() => spec({ mounts: [volume] }, image, { handler: {} })).toThrow(/^RROUnsupported: /)
  })

  test('devices get nodes and rules', () => {
    const { devices, resources } = spec({
      devices: [{ hostPath: '/dev/fuse', containerPath: '/dev/f', permissions: 'rw' }],
    }).linux
    expect(devices).toMatchObject([{ path: '/dev/f', major: 10, minor: 229 }])
    expect(resources.devices).toEqual([
      { allow: false, access: 'rwm' },
      { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' },
    ])
  })
})

test.each([
  [0xae5, 10, 229],
  [0xfe00, 254, 0],
  [0x10305, 259, 5],
  [0x10082c, 8, 300],
])('device number %i is %i:%i', (rdev, major, minor) => {
  expect(deviceNumbers(rdev)).toEqual({ major, minor })
})

describe('seccomp', () => {
  const RuntimeDefault = SecurityProfile_ProfileType.RuntimeDefault
  const seccomp = (context: object, more: Overrides = {}) =>
    spec({ linux: { securityContext: context } }, undefined, more).linux.seccomp

  test('none unless asked, none for privileged, an error where the kernel has none', () => {
    expect(seccomp({})).toBeUndefined()
    expect(seccomp({ seccomp: { profileType: RuntimeDefault } })?.defaultAction).toBe('SCMP_ACT_ERRNO')
    expect(seccomp({ seccompProfilePath: 'runtime/default' })?.architectures).toContain('SCMP_ARCH_X86_64')
    expect(
      seccomp({ privileged: true, seccomp: { profileType: RuntimeDefault } }, { privilegedPod: true }),
    ).toBeUndefined()
    expect(() => seccomp({ seccomp: { profileType: RuntimeDefault } }, { host: { seccomp: false } })).toThrow(
      'not supported',
    )
    expect(() => seccomp({ seccomp: { profileType: 2, localhostRef: '/p.json' } })).toThrow('/p.json is missing')
  })

  test('follows capabilities, architecture and kernel', () => {
    const allowed = (bounding: string[], kernel: readonly [number, number] = [6, 1], arch = 'amd64') =>
      defaultSeccomp(bounding, { arch, kernel }).syscalls?.flatMap(({ names, action }) =>
        action === 'SCMP_ACT_ALLOW' ? names : [],
      ) ?? []
    expect(allowed([])).toContain('arch_prctl')
    expect(allowed([], [6, 1], 'arm64')).not.toContain('arch_prctl')
    expect(allowed([])).not.toContain('mount')
    expect(allowed(['CAP_SYS_ADMIN'])).toContain('mount')
    expect(allowed([], [4, 7])).not.toContain('ptrace')
    expect(allowed([], [4, 10])).toContain('ptrace')
    const clone3 = defaultSeccomp([], { arch: 'amd64', kernel: [6, 1] }).syscalls?.find(({ names }) =>
      names.includes('clone3'),
    )
    expect(clone3).toEqual({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 })
  })
})

test('apparmor: an error without kernel support, a loaded profile with it', () => {
  const profile = { linux: { securityContext: { apparmorProfile: 'localhost/web' } } }
  expect(() => spec(profile)).toThrow('apparmor is not supported')
  expect(() => spec(profile, undefined, { host: { apparmorProfiles: [] } })).toThrow('profile not found web')
  expect(spec(profile, undefined, { host: { apparmorProfiles: ['web'] } }).process.apparmorProfile).toBe('web')
  expect(
    spec({ linux: { securityContext: { apparmorProfile: 'unconfined' } } }).process.apparmorProfile,
  ).toBeUndefined()
})

test('privileged: all devices, writable /sys, nothing masked', () => {
  const { linux, mounts } = spec(
    { linux: { securityContext: { privileged: true, maskedPaths: ['/proc/kcore'] } } },
    undefined,
    { privilegedPod: true },
  )
  expect(linux).toMatchObject({
    maskedPaths: [],
    devices: [{ path: '/dev/vda' }],
    resources: { devices: [{ allow: true, access: 'rwm' }] },
  })
  expect(mounts.find(({ destination }) => destination === '/sys')?.options).toContain('rw')
})

test('annotations name the pod', () => {
  expect(spec({ metadata: { name: 'app' } }).annotations).toMatchObject({
    'io.kubernetes.cri.sandbox-id': 'pod1',
    'io.kubernetes.cri.sandbox-name': 'web',
    'io.kubernetes.cri.container-name': 'app',
  })
})

test.each([
  ['TERM', 'SIGTERM'],
  ['sigquit', 'SIGQUIT'],
  ['15', '15'],
  ['SIGRTMIN+3', '37'],
  ['RTMAX-1', '63'],
  ['', undefined],
  ['99', undefined],
  ['NOPE', undefined],
])('signal %s is %s', (text, expected) => {
  expect(parseSignal(text)).toBe(expected)
})

test('a log is read back by stream, whole and partial lines joined', () => {
  const log = 't stdout P a\nt stderr F x y\nt stdout F b\nt stdout F \nt stdout P end\nt std'
  const { stdout, stderr } = parseLog(Buffer.from(log), 100)
  expect([stdout.toString(), stderr.toString()]).toEqual(['ab\n\nend', 'x y\n'])
  expect(parseLog(Buffer.from(log), 3).stdout.toString()).toBe('ab\n')
})
