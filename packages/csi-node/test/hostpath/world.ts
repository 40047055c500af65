// A hostpath driver on a folder of its own, and what it left at the end.
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { detachLoop, readLoops, readMountInfo, unmount } from '@nodelet/linux'
import { createHostpathDriver, type HostpathOptions } from '@nodelet/csi-node/hostpath'
import type { ServingDriver } from '@nodelet/csi-node/sdk'

export interface World extends AsyncDisposable {
  readonly socketPath: string
  readonly stateDir: string
  /** Where volumes are mounted. */
  readonly folder: string
  restart(): Promise<void>
}

/** Disposing it fails when mounts or loop devices are left, and takes them away. */
export async function openWorld(options: HostpathOptions = {}): Promise<World> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'hostpath-')))
  const [stateDir, folder, socketPath] = ['state', 'mounts', 'csi.sock'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(folder)
  const start = async (): Promise<ServingDriver> =>
    createHostpathDriver({ stateDir, nodeId: 'here', ...options }).serve({ endpoint: socketPath, register: false })
  let serving = await start()
  return {
    socketPath,
    stateDir,
    folder,
    restart: async () => {
      await serving.close()
      serving = await start()
    },
    [Symbol.asyncDispose]: async () => {
      await serving.close()
      const mounts = (await readMountInfo('self', { below: root })).map(({ mountPoint }) => mountPoint)
      const loops = readLoops().filter(({ file }) => file.startsWith(root))
      for (const mount of mounts.toReversed()) unmount(mount, { detach: true })
      for (const { path } of loops) detachLoop(path)
      rmSync(root, { recursive: true, force: true })
      if (mounts.length + loops.length > 0) {
        throw new Error(`left behind: ${[...mounts, ...loops.map(({ path }) => path)].join(' ')}`)
      }
    },
  }
}
