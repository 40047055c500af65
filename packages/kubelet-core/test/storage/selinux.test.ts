import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Pod, PodSecurityContext } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { mountLabel, readFileLabel } from '../../src/storage/selinux.ts'

const fileLabel = 'system_u:object_r:container_file_t:s0'
const one = { level: 's0:c1,c2' }
const mount = [{ name: 'v', mountPath: '/v' }]
const pod = (
  securityContext: PodSecurityContext & { seLinuxChangePolicy?: string },
  ...containers: { level?: string; user?: string }[]
): Pod => ({
  spec: {
    securityContext,
    initContainers: [{ name: 'without', securityContext: { seLinuxOptions: { level: 's0:c9' } } }],
    containers: (containers.length > 0 ? containers : [undefined]).map((seLinuxOptions, index) => ({
      name: `c${index}`,
      volumeMounts: mount,
      ...(seLinuxOptions && { securityContext: { seLinuxOptions } }),
    })),
  },
})
const label = (level: string, user = 'system_u'): string => `${user}:object_r:container_file_t:${level}`
const rwop = { volumeMode: 'Filesystem', accessModes: ['ReadWriteOncePod'], lifecycle: 'Persistent' } as const
const rwo = { ...rwop, accessModes: ['ReadWriteOnce'] }

test.each<[string, Pod, object, string | undefined]>([
  ['of the pod', pod({ seLinuxOptions: one }), {}, label('s0:c1,c2')],
  ['of each container', pod({}, one, one), {}, label('s0:c1,c2')],
  ['of a container, before that of the pod', pod({ seLinuxOptions: one }, { level: 's0:c7' }), {}, label('s0:c7')],
  ['with a user', pod({}, { ...one, user: 'staff_u' }), {}, label('s0:c1,c2', 'staff_u')],
  ['none: containers differ', pod({}, one, { level: 's0:c7' }), {}, undefined],
  ['none: one has none', pod({}, one, {}), {}, undefined],
  ['none: the runtime picks the level', pod({ seLinuxOptions: { type: 'spc_t' } }), {}, undefined],
  ['none: nobody has any', pod({}), {}, undefined],
  ['none: files are to be labelled', pod({ seLinuxOptions: one, seLinuxChangePolicy: 'Recursive' }), {}, undefined],
  ['of a pod that says how', pod({ seLinuxOptions: one, seLinuxChangePolicy: 'MountOption' }), {}, label('s0:c1,c2')],
  ['none: several pods may have it', pod({ seLinuxOptions: one }), { volume: rwo }, undefined],
  ['of what several pods may have', pod({ seLinuxOptions: one }), { volume: rwo, mountsAll: true }, label('s0:c1,c2')],
  ['none: a device', pod({ seLinuxOptions: one }), { volume: { ...rwop, volumeMode: 'Block' } }, undefined],
  ['none: its driver cannot', pod({ seLinuxOptions: one }), { isAllowed: false }, undefined],
])('a volume is mounted with the label %s', (_, wanted, more, expected) => {
  const { volume, mountsAll, isAllowed } = { volume: rwop, mountsAll: false, isAllowed: true, ...more }
  expect(mountLabel({ fileLabel, mountsAll }, wanted, 'v', volume, isAllowed)).toBe(expected)
})

test('the label is that of the policy, where SELinux is on', async () => {
  const root = mkdtempSync(join(tmpdir(), 'selinux-'))
  const write = (path: string, text: string): void => {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  try {
    expect(await readFileLabel(root)).toBeUndefined()
    write('sys/fs/selinux/enforce', '1')
    expect(await readFileLabel(root)).toBe(fileLabel)
    write('etc/selinux/config', 'SELINUX=enforcing\nSELINUXTYPE=mls\n')
    write('etc/selinux/mls/contexts/lxc_contexts', 'process = "a:b:c:s0"\nfile = "system_u:object_r:svirt_t:s0"\n')
    expect(await readFileLabel(root)).toBe('system_u:object_r:svirt_t:s0')
  } finally {
    rmSync(root, { recursive: true })
  }
})

test.skipIf(existsSync('/sys/fs/selinux/enforce'))('a kernel without SELinux has no labels', async () => {
  expect(await readFileLabel()).toBeUndefined()
})
