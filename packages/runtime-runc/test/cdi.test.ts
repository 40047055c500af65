// CDI: what devices change, where they are found, and a real one in a container.
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ContainerConfig } from '@nodelet/cri-api'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { askedCdiDevices } from '../src/cdi/asked.ts'
import { createCdi } from '../src/cdi/cdi.ts'
import type { ResolvedEdits } from '../src/cdi/cdi.ts'
import { completeNode } from '../src/cdi/nodes.ts'
import { isQualified, parseCdiFile } from '../src/cdi/schema.ts'
import type { OciSpec } from '../src/index.ts'
import { applyEdits } from '../src/spec/edits.ts'
import { makeFixture } from './fixture.ts'

const folder = mkdtempSync(join(tmpdir(), 'cdi-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('names', () => {
  test.each([
    ['vendor.com/class=device', true],
    ['vendor/class=0:1', true],
    ['v/c.d_e-f=a', true],
    ['v/c=1', true],
    ['v/c=', false],
    ['v=c', false],
    ['/c=a', false],
    ['0v/c=a', false],
    ['v/c=a=b', false],
    ['v/c=-a', false],
    ['v/c/d=a', false],
  ])('%s is qualified: %s', (name, expected) => {
    expect(isQualified(name)).toBe(expected)
  })

  const asked = (devices: string[], annotations: Record<string, string> = {}): string[] =>
    askedCdiDevices(ContainerConfig.fromPartial({ CDIDevices: devices.map((name) => ({ name })), annotations }))

  test('the field first, then annotations, each once', () => {
    const annotations = { 'cdi.k8s.io/plugin_a': 'v/c=2,v/c=1', 'cdi.k8s.io/b': 'v/c=3', other: 'v/c=4' }
    expect(asked(['v/c=1'], annotations)).toEqual(['v/c=1', 'v/c=2', 'v/c=3'])
  })

  test.each<[string[], Record<string, string>, string]>([
    [['gpu'], {}, 'CDI device "gpu" in CDI_devices: name it VENDOR/CLASS=DEVICE'],
    [[], { 'cdi.k8s.io/x': 'v/c=1, v/c=2' }, 'CDI device " v/c=2" in annotation cdi.k8s.io/x'],
  ])('%j %j is refused', (devices, annotations, message) => {
    expect(() => asked(devices, annotations)).toThrow(message)
  })
})

describe('edits', () => {
  const base: OciSpec = {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 7, gid: 8, additionalGids: [8] },
      args: ['x'],
      env: ['A=1', 'B=2'],
      cwd: '/',
      capabilities: { bounding: [], permitted: [], effective: [], inheritable: [], ambient: [] },
      noNewPrivileges: false,
      oomScoreAdj: 0,
    },
    root: { path: '/r', readonly: false },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: [] },
      { destination: '/a/b', type: 'bind', source: '/old', options: ['bind'] },
    ],
    annotations: {},
    linux: {
      namespaces: [],
      devices: [{ path: '/dev/x', type: 'c', major: 1, minor: 1, fileMode: 0o600, uid: 0, gid: 0 }],
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      cgroupsPath: '/c',
      maskedPaths: [],
      readonlyPaths: [],
    },
  }

  test.each<[string, ResolvedEdits[], (spec: OciSpec) => unknown, unknown]>([
    [
      'a variable takes the place of its namesake',
      [{ env: ['A=9', 'C=3=4'] }],
      (s) => s.process.env,
      ['A=9', 'B=2', 'C=3=4'],
    ],
    ['the last of several edits wins', [{ env: ['A=2'] }, { env: ['A=3'] }], (s) => s.process.env, ['A=3', 'B=2']],
    [
      'a node takes the place of that of its path, and belongs to the user',
      [{ deviceNodes: [{ path: '/dev/x', type: 'c', major: 5, minor: 6, fileMode: 0o640 }] }],
      (s) => s.linux.devices,
      [{ path: '/dev/x', type: 'c', major: 5, minor: 6, fileMode: 0o640, uid: 7, gid: 8 }],
    ],
    [
      'nodes get rules, but FIFOs and those with none',
      [
        {
          deviceNodes: [
            { path: '/dev/b', type: 'b', major: 1, minor: 2, permissions: 'r' },
            { path: '/dev/p', type: 'p', major: 0, minor: 0 },
            { path: '/dev/n', type: 'c', major: 1, minor: 3, permissions: 'none' },
            { path: '/dev/c', type: 'c', major: 1, minor: 4 },
          ],
        },
      ],
      (s) => s.linux.resources.devices,
      [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'b', major: 1, minor: 2, access: 'r' },
        { allow: true, type: 'c', major: 1, minor: 4, access: 'rwm' },
      ],
    ],
    [
      'a mount takes the place of that of its path, parents first',
      [
        {
          mounts: [
            { hostPath: '/new', containerPath: '/a/b/', options: ['ro', 'bind'] },
            { hostPath: 'tmpfs', containerPath: '/t', type: 'tmpfs' },
          ],
        },
      ],
      (s) => s.mounts.slice(1),
      [
        { destination: '/t', type: 'tmpfs', source: 'tmpfs', options: [] },
        { destination: '/a/b', type: 'bind', source: '/new', options: ['ro', 'bind'] },
      ],
    ],
    [
      'hooks are added by name',
      [
        { hooks: [{ hookName: 'createContainer', path: '/h', args: ['h', '1'] }] },
        { hooks: [{ hookName: 'createContainer', path: '/i', timeout: 3 }] },
      ],
      (s) => s.hooks,
      {
        createContainer: [
          { path: '/h', args: ['h', '1'] },
          { path: '/i', timeout: 3 },
        ],
      },
    ],
    [
      'groups are added once, zero is none',
      [{ additionalGids: [0, 8, 9, 9] }],
      (s) => s.process.user.additionalGids,
      [8, 9],
    ],
    ['intelRdt is taken over', [{ intelRdt: { closID: 'fast' } }], (s) => s.linux.intelRdt, { closID: 'fast' }],
    ['nothing changes nothing', [{}], (s) => s, base],
  ])('%s', (_, edits, part, expected) => {
    expect(part(applyEdits(base, edits))).toEqual(expected)
  })

  test('network devices only where the runtime moves them', () => {
    const edits = [{ netDevices: [{ hostInterfaceName: 'eth7', name: 'net1' }] }]
    expect(() => applyEdits(base, edits)).toThrow('CDI network devices eth7')
    expect(applyEdits(base, edits, true).linux.netDevices).toEqual({ eth7: { name: 'net1' } })
  })
})

test.each<[string, object, string]>([
  ['an unknown field', { more: 1 }, 'the file: Unrecognized key: "more"'],
  ['an unknown version', { cdiVersion: '9.0.0' }, 'cdiVersion'],
  ['no vendor', { kind: 'class' }, 'kind: must be VENDOR/CLASS'],
  ['no device', { devices: [] }, 'devices: must have a device'],
  [
    'an unknown hook',
    { containerEdits: { hooks: [{ hookName: 'later', path: '/x' }] } },
    'containerEdits.hooks.0.hookName',
  ],
  ['wrong permissions', { containerEdits: { deviceNodes: [{ path: '/x', permissions: 'x' }] } }, 'some of rwm'],
  ['a variable without value', { containerEdits: { env: ['A'] } }, 'must be NAME=VALUE'],
])('a file with %s is refused', (_, change, message) => {
  const good = { cdiVersion: '1.0.0', kind: 'v/c', devices: [{ name: '1', containerEdits: {} }] }
  expect(parseCdiFile(good)).toEqual(good)
  expect(() => parseCdiFile({ ...good, ...change })).toThrow(message)
})

test('a node is completed from the host', async () => {
  expect(await completeNode({ path: '/dev/mine', hostPath: '/dev/null' })).toMatchObject({
    type: 'c',
    major: 1,
    minor: 3,
  })
  expect(await completeNode({ path: '/x', type: 'b', major: 9, minor: 1 })).toMatchObject({ major: 9, minor: 1 })
  await expect(completeNode({ path: '/dev/null', type: 'b' })).rejects.toThrow('is of type c on the host, not b')
  await expect(completeNode({ path: '/etc/passwd' })).rejects.toThrow('is not a device node')
  await expect(completeNode({ path: '/dev/none' })).rejects.toThrow('/dev/none cannot be looked up')
})

describe('folders', () => {
  let low: string
  let high: string
  let count = 0
  beforeEach(() => {
    low = join(folder, `low${count}`)
    high = join(folder, `high${count++}`)
    mkdirSync(low)
  })
  const file = (env: string, ...names: string[]): string =>
    JSON.stringify({
      cdiVersion: '0.6.0',
      kind: 'v/c',
      containerEdits: { env: [`ALL=${env}`] },
      devices: names.map((name) => ({ name, containerEdits: { env: [`DEV=${env}${name}`] } })),
    })
  const envOf = (edits: ResolvedEdits[]): string[] => edits.flatMap(({ env = [] }) => env)

  test("a file's edits once, before those of its devices; a later folder wins; missing folders are none", async () => {
    const cdi = createCdi([low, high])
    writeFileSync(join(low, 'a.json'), file('low', '1', '2'))
    expect(envOf(await cdi.resolve(['v/c=2', 'v/c=1']))).toEqual(['ALL=low', 'DEV=low2', 'DEV=low1'])
    mkdirSync(high)
    writeFileSync(join(high, 'a.json'), file('high', '1'))
    expect(envOf(await cdi.resolve(['v/c=1', 'v/c=2']))).toEqual(['ALL=high', 'DEV=high1', 'ALL=low', 'DEV=low2'])
  })

  test('files are read again when they change, and are gone when removed', async () => {
    const cdi = createCdi([low])
    await expect(cdi.resolve(['v/c=1'])).rejects.toThrow(`unresolvable CDI devices v/c=1: no usable file in ${low}`)
    writeFileSync(join(low, 'a.json'), file('one', '1'))
    expect(envOf(await cdi.resolve(['v/c=1']))).toContain('ALL=one')
    writeFileSync(join(low, 'a.json'), file('two', '1'))
    expect(envOf(await cdi.resolve(['v/c=1']))).toContain('ALL=two')
    rmSync(join(low, 'a.json'))
    await expect(cdi.resolve(['v/c=1'])).rejects.toThrow('unresolvable CDI devices v/c=1')
  })

  test('YAML as its vendors write it, with octal modes', async () => {
    const yaml = `cdiVersion: 0.5.0
kind: v/c
devices:
- name: "1"
  containerEdits:
    deviceNodes:
    - {path: /dev/mine, hostPath: /dev/null, fileMode: 0640}
`
    writeFileSync(join(low, 'a.yaml'), yaml)
    writeFileSync(join(low, 'a.txt'), 'not read')
    const [, edits] = await createCdi([low]).resolve(['v/c=1'])
    expect(edits?.deviceNodes).toMatchObject([{ path: '/dev/mine', fileMode: 0o640, major: 1, minor: 3 }])
  })

  test('a device in two files of one folder cannot be told; broken files are named', async () => {
    writeFileSync(join(low, 'a.json'), file('a', '1', '2'))
    writeFileSync(join(low, 'b.json'), file('b', '1'))
    writeFileSync(join(low, 'c.json'), '{')
    const cdi = createCdi([low])
    await expect(cdi.resolve(['v/c=1'])).rejects.toThrow(/v\/c=1 is both in .*a\.json and in .*b\.json.*c\.json: /)
    expect(envOf(await cdi.resolve(['v/c=2']))).toContain('ALL=a')
    // One that wins over both settles it.
    mkdirSync(high)
    writeFileSync(join(high, 'a.json'), file('high', '1'))
    expect(envOf(await createCdi([low, high]).resolve(['v/c=1']))).toContain('ALL=high')
  })
})

test('a real node, its rule, a mount, a variable, a group and a hook in a container', async () => {
  const dir = join(folder, 'real')
  const mark = join(dir, 'mark')
  mkdirSync(dir)
  writeFileSync(join(dir, 'lib'), 'vendor library')
  writeFileSync(
    join(dir, 'vendor.json'),
    JSON.stringify({
      cdiVersion: '1.0.0',
      kind: 'vendor.example/full',
      containerEdits: { additionalGids: [4242] },
      devices: [
        {
          name: 'one',
          containerEdits: {
            env: ['VENDOR=yes'],
            deviceNodes: [{ path: '/dev/vendor0', hostPath: '/dev/full', permissions: 'rw', fileMode: 0o620 }],
            mounts: [{ hostPath: join(dir, 'lib'), containerPath: '/usr/lib/vendor', options: ['ro', 'bind'] }],
            hooks: [{ hookName: 'createContainer', path: '/bin/touch', args: ['touch', mark] }],
          },
        },
      ],
    }),
  )
  await using f = await makeFixture({ cdiSpecDirs: [dir] })
  const script = [
    'echo $VENDOR; cat /usr/lib/vendor; echo; ls -ln /dev/vendor0; id -G',
    'echo x > /dev/vendor0',
    'echo x > /usr/lib/vendor',
    'exit 0',
  ].join('; ')
  const options = f.options(script, {
    annotations: { 'cdi.k8s.io/vendor': 'vendor.example/full=one' },
    linux: { securityContext: { runAsUser: { value: 0n } } },
  })
  const id = await f.containers.create(options)
  await f.containers.start(id)
  await f.containers.wait(id)
  const text = f.logLines().join('\n')
  expect(text).toContain('yes')
  expect(text).toContain('vendor library')
  expect(text).toMatch(/crw--w---- .* 1, +7 .*\/dev\/vendor0/)
  expect(text).toMatch(/\b4242\b/)
  expect(text).toContain('No space left on device') // what /dev/full says: the rule let it be opened
  expect(text).toContain('Read-only file system')
  expect(statSync(mark).isFile()).toBe(true)

  const bad = f.options('true', { CDIDevices: [{ name: 'vendor.example/full=two' }] })
  await expect(f.containers.create(bad)).rejects.toThrow('unresolvable CDI devices vendor.example/full=two')
})
