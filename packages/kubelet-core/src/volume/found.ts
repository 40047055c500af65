// What volumes of pods a kubelet finds on the disk when it starts.
import { join } from 'node:path'
import type { KnownVolume } from '@nodelet/csi-node'
import { isPodUid, podFolders } from './folders.ts'
import { namesIn } from './mounts.ts'

/**
 * Counts them.
 * @param known those of drivers whose records tell what they are
 * @returns `lost`: those of drivers that nobody knows what to make of
 */
export async function findVolumes(
  rootDir: string,
  known: readonly KnownVolume[],
): Promise<{ all: number; lost: number }> {
  const isKnown = new Set(known.map(({ podUid, specName }) => `${podUid}/${specName.replaceAll('/', '~')}`))
  let [all, lost] = [0, 0]
  for (const podUid of (await namesIn(join(rootDir, 'pods'))).filter(isPodUid)) {
    const { volumes, devices } = podFolders(rootDir, podUid)
    for (const kind of [volumes, devices]) {
      for (const plugin of await namesIn(kind)) {
        const names = await namesIn(join(kind, plugin))
        all += names.length
        if (plugin === 'kubernetes.io~csi') lost += names.filter((name) => !isKnown.has(`${podUid}/${name}`)).length
      }
    }
  }
  return { all, lost }
}
