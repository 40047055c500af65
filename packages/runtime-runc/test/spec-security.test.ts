// Capabilities, seccomp, AppArmor, privileged containers.
import { ContainerConfig, SecurityProfile_ProfileType } from '@nodelet/cri-api'
import { describe, expect, test } from 'vitest'
import {
  CAPABILITIES,
  capabilitiesOfMask,
  containerCapabilities,
  DEFAULT_CAPABILITIES,
  missingCapabilities,
} from '../src/capabilities.ts'
import { defaultProfile, parseProfile, profileNames } from '../src/container/apparmor.ts'
import { specNotes } from '../src/spec/notes.ts'
import { defaultSeccomp } from '../src/spec/seccomp.ts'
import { parseSeccompFile } from '../src/spec/seccomp-file.ts'
import { host, spec } from './spec-input.ts'
import type { Overrides } from './spec-input.ts'

const { RuntimeDefault, Unconfined, Localhost } = SecurityProfile_ProfileType

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

  test.each<[string, string[], string[], string[]]>([
    ['single adds survive a drop of all', ['ALL', 'SYS_TIME'], ['all'], ['CAP_SYS_TIME']],
    ['single drops come last', ['SYS_TIME', 'KILL'], ['ALL', 'sys_time'], ['CAP_KILL']],
    ['what no kernel has is left out', ['FLY', 'KILL'], ['ALL'], ['CAP_KILL']],
  ])('%s', (_, add, drop, expected) => {
    expect(of(add, drop).bounding).toEqual(expected)
  })

  test('privileged ones have all that this process has, none of it ambient', () => {
    const asked = { addCapabilities: [], dropCapabilities: ['ALL'], addAmbientCapabilities: ['KILL'] }
    const sets = containerCapabilities(asked, true, ['CAP_KILL', 'CAP_BPF'])
    expect([sets.bounding, sets.ambient, sets.inheritable]).toEqual([['CAP_KILL', 'CAP_BPF'], [], []])
  })

  test('what is missing is told', () => {
    const asked = {
      addCapabilities: ['ALL', 'fly', 'CAP_BPF'],
      dropCapabilities: ['x'],
      addAmbientCapabilities: ['FLY'],
    }
    expect(missingCapabilities(asked, ['CAP_KILL'])).toEqual(['CAP_FLY', 'CAP_BPF'])
  })

  test('ambient ones are in all sets', () => {
    const sets = of([], ['ALL'], ['NET_ADMIN'])
    expect(Object.values(sets)).toEqual(Array.from({ length: 5 }, () => ['CAP_NET_ADMIN']))
  })

  test('a mask is read by bits', () => {
    expect(capabilitiesOfMask('0000000000000401')).toEqual(['CAP_CHOWN', 'CAP_NET_BIND_SERVICE'])
    expect(capabilitiesOfMask('000001ffffffffff')).toEqual(CAPABILITIES)
  })
})

describe('seccomp', () => {
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

  test.each<[string, object, string]>([
    [
      'a file without its type',
      { seccomp: { profileType: RuntimeDefault, localhostRef: '/p' } },
      'localhost_ref /p is set',
    ],
    ['an unknown type', { seccomp: { profileType: 9 } }, 'seccomp profile type 9 is unknown'],
    ['an unknown text', { seccompProfilePath: 'mine' }, 'seccomp profile "mine" is unknown'],
  ])('%s is refused', (_, context, message) => {
    expect(() => seccomp(context)).toThrow(message)
  })

  test('older texts, and files', () => {
    const file = { container: { localhostSeccomp: { defaultAction: 'SCMP_ACT_LOG' } } }
    expect(seccomp({ seccompProfilePath: 'localhost//p.json' }, file)).toEqual({ defaultAction: 'SCMP_ACT_LOG' })
    expect(seccomp({ seccompProfilePath: 'docker/default' })?.defaultAction).toBe('SCMP_ACT_ERRNO')
    expect(seccomp({ seccompProfilePath: 'unconfined' })).toBeUndefined()
    expect(seccomp({ seccomp: { profileType: Unconfined }, seccompProfilePath: 'runtime/default' })).toBeUndefined()
    expect(seccomp({ seccomp: { profileType: Unconfined } }, { host: { seccomp: false } })).toBeUndefined()
    const privileged = { privileged: true, seccomp: { profileType: RuntimeDefault, localhostRef: '/p' } }
    expect(seccomp(privileged, { privilegedPod: true })).toBeUndefined()
  })

  test('a file is read as OCI has it: what Docker adds is dropped', () => {
    const rule = { names: ['read'], action: 'SCMP_ACT_ALLOW', args: null, includes: {}, comment: '' }
    const text = JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', archMap: [], syscalls: [rule] })
    expect(parseSeccompFile(text)).toEqual({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW', args: [] }],
    })
    expect(() => parseSeccompFile('{"syscalls":[{"names":[]}]}')).toThrow(/defaultAction: .*syscalls\.0\.names: /)
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

describe('AppArmor', () => {
  const loaded = { apparmor: true, apparmorDefault: 'nodelet-default' }
  const apparmor = (context: object, known: Overrides['host'] = loaded) =>
    spec({ linux: { securityContext: context } }, undefined, {
      host: known ?? {},
      container: { apparmorProfiles: ['web'] },
      privilegedPod: true,
    }).process.apparmorProfile

  test.each<[string, object, string | undefined]>([
    ['none asked for: the default', {}, 'nodelet-default'],
    ['the default', { apparmor: { profileType: RuntimeDefault } }, 'nodelet-default'],
    ['none', { apparmor: { profileType: Unconfined } }, undefined],
    ['a loaded one', { apparmor: { profileType: Localhost, localhostRef: 'web' } }, 'web'],
    ['a loaded one with a prefix', { apparmor: { profileType: Localhost, localhostRef: 'localhost/web' } }, 'web'],
    ['the older text', { apparmorProfile: 'localhost/web' }, 'web'],
    ['the older default', { apparmorProfile: 'runtime/default' }, 'nodelet-default'],
    ['the older none', { apparmorProfile: 'unconfined' }, undefined],
    ['the message wins', { apparmor: { profileType: Unconfined }, apparmorProfile: 'localhost/web' }, undefined],
    ['privileged, none asked for', { privileged: true }, undefined],
    ['privileged, the default', { privileged: true, apparmor: { profileType: RuntimeDefault } }, undefined],
    [
      'privileged, a loaded one',
      { privileged: true, apparmor: { profileType: Localhost, localhostRef: 'web' } },
      'web',
    ],
  ])('%s', (_, context, expected) => {
    expect(apparmor(context)).toBe(expected)
  })

  test.each<[string, object, Overrides['host'], string]>([
    ['no AppArmor', { apparmor: { profileType: RuntimeDefault } }, { apparmor: false }, 'apparmor is not supported'],
    ['no AppArmor, older text', { apparmorProfile: 'localhost/web' }, { apparmor: false }, 'apparmor is not supported'],
    ['not loaded', { apparmorProfile: 'localhost/x' }, loaded, 'apparmor profile not found x'],
    ['no default', { apparmor: { profileType: RuntimeDefault } }, { apparmor: true }, 'install apparmor_parser'],
    ['an unknown type', { apparmor: { profileType: 8 } }, loaded, 'apparmor profile type 8 is unknown'],
    ['an unknown text', { apparmorProfile: 'web' }, loaded, 'apparmor profile "web" is unknown'],
  ])('%s is refused', (_, context, known, message) => {
    expect(() => apparmor(context, known)).toThrow(message)
  })

  test('a machine without it, or without the default, needs none', () => {
    expect(apparmor({}, { apparmor: false })).toBeUndefined()
    expect(apparmor({ apparmor: { profileType: Unconfined } }, { apparmor: false })).toBeUndefined()
    expect(apparmor({}, { apparmor: true })).toBeUndefined()
  })

  test("the kernel's list, and a default that the parser takes", async () => {
    expect(profileNames('web (enforce)\n/usr/bin/x y (complain)\n')).toEqual(['web', '/usr/bin/x y'])
    const check = ['--skip-kernel-load', '--skip-cache']
    await parseProfile(defaultProfile(), check)
    await expect(parseProfile('profile x { deny nonsense }', check)).rejects.toThrow(/syntax error/)
  })
})

test('what was asked for and not given is noted', () => {
  const config = ContainerConfig.fromPartial({
    mounts: [{ selinuxRelabel: true }],
    linux: {
      resources: { oomScoreAdj: -998n, hugepageLimits: [{ pageSize: '2MB', limit: 1n }] },
      securityContext: { capabilities: { addCapabilities: ['FLY'] } },
    },
  })
  expect(specNotes(config, host, { hasLabels: false })).toEqual([
    'capabilities CAP_FLY are left out: this runtime does not have them',
    'SELinux labels are left out: this runtime has them off',
  ])
  const poor = { ...host, hugetlb: false, canLowerOomScore: false }
  expect(specNotes(config, poor, { hasLabels: true }).slice(1)).toEqual([
    'oom_score_adj is 0, not -998: this runtime may not go lower',
    'limits of huge pages are left out: this kernel has no hugetlb controller',
  ])
  expect(specNotes(ContainerConfig.fromPartial({}), poor, { hasLabels: false })).toEqual([])
})
