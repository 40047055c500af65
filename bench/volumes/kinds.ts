// The kinds of volumes that are measured, and what each comes to in the kernel: the bare work is done with it beside ours.
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mount, unmount } from '@nodelet/linux'
import type { Volume } from 'kubernetes-types/core/v1.d.ts'
import { tmpfs } from '../../examples/csi-tmpfs/tmpfs.ts'

export const text = 'k'.repeat(1000)
export const claimName = 'bench'
export const configName = (id: string): string => `config-${id}`
export const secretName = (id: string): string => `secret-${id}`

export interface Kind {
  name: string
  /** Undefined: a pod without volumes. @param id of the pod, whose ConfigMap and Secret have it in their names */
  volume?: (id: string, folder: string) => Volume
  /** The same by system calls alone, in a new folder; what it mounted goes with {@link bareEnd}. */
  bare?: (folder: string, source: string) => void
}

const file = 'key'
const onTmpfs = (folder: string): void => {
  mkdirSync(folder)
  mount({ source: 'tmpfs', target: folder, type: 'tmpfs', options: ['mode=0777'] })
}
/** Without regard to a kill, or to what was there. */
function writeFiles(folder: string, ...names: string[]): void {
  mkdirSync(join(folder, '..1'))
  for (const name of names) {
    writeFileSync(join(folder, '..1', name), text)
    symlinkSync(join('..data', name), join(folder, name))
  }
  symlinkSync('..1', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
}
const onDisk = (folder: string): void => {
  mkdirSync(folder)
  chmodSync(folder, 0o777)
}
const filesInMemory = (folder: string): void => {
  onTmpfs(folder)
  writeFiles(folder, file)
}
const podName = { path: file, fieldRef: { fieldPath: 'metadata.name' } }

export const kinds: readonly Kind[] = [
  { name: 'no volume' },
  { name: 'emptyDir', volume: () => ({ name: 'v', emptyDir: {} }), bare: onDisk },
  { name: 'emptyDir in memory', volume: () => ({ name: 'v', emptyDir: { medium: 'Memory' } }), bare: onTmpfs },
  { name: 'hostPath', volume: (_, folder) => ({ name: 'v', hostPath: { path: folder } }) },
  {
    name: 'configMap',
    volume: (id) => ({ name: 'v', configMap: { name: configName(id) } }),
    bare: (folder) => {
      onDisk(folder)
      writeFiles(folder, file)
    },
  },
  {
    name: 'secret',
    volume: (id) => ({ name: 'v', secret: { secretName: secretName(id) } }),
    bare: filesInMemory,
  },
  {
    name: 'projected with a token',
    volume: (id) => ({
      name: 'v',
      projected: {
        sources: [
          { serviceAccountToken: { path: 'token', audience: 'bench' } },
          { configMap: { name: configName(id) } },
          { downwardAPI: { items: [{ ...podName, path: 'name' }] } },
        ],
      },
    }),
    bare: (folder) => {
      onTmpfs(folder)
      writeFiles(folder, file, 'token', 'name')
    },
  },
  {
    name: 'downwardAPI',
    volume: () => ({ name: 'v', downwardAPI: { items: [podName] } }),
    bare: filesInMemory,
  },
  {
    name: 'CSI inline, tmpfs',
    volume: () => ({ name: 'v', csi: { driver: tmpfs.name, volumeAttributes: { size: '1m' } } }),
    bare: onTmpfs,
  },
  {
    name: 'CSI persistent, hostpath',
    volume: () => ({ name: 'v', persistentVolumeClaim: { claimName } }),
    bare: (folder, source) => {
      // As it is staged, and then published.
      mkdirSync(folder)
      mount({ source, target: folder, options: ['bind'] })
      mount({ source: folder, target: folder, options: ['bind'] })
    },
  },
]

export function bareEnd(folder: string): void {
  for (;;) {
    try {
      unmount(folder)
    } catch {
      break // nothing is mounted there any more
    }
  }
  rmSync(folder, { recursive: true, force: true })
}
