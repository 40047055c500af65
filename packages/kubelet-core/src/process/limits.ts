// KubeletConfiguration `oomScoreAdj` and `maxOpenFiles`: what the kernel is to know of the kubelet's process.
import { readFile, writeFile } from 'node:fs/promises'
import { fileLimit, LinuxError, setFileLimit } from '@nodelet/linux'
import type { KubeletConfiguration } from '../configuration/types.ts'
import type { Logger } from '../log.ts'

const scoreFile = '/proc/self/oom_score_adj'

/** What may not be set is set as near as it may be: the log says so, and the kubelet runs. */
export async function limitProcess(
  { oomScoreAdj, maxOpenFiles }: Pick<KubeletConfiguration, 'oomScoreAdj' | 'maxOpenFiles'>,
  log: Logger,
): Promise<void> {
  const score = await setOomScore(oomScoreAdj)
  if (score !== oomScoreAdj) log.warn({ oomScoreAdj, score }, 'oomScoreAdj may not be so low here')
  const files = setOpenFiles(maxOpenFiles)
  if (files !== maxOpenFiles) log.warn({ maxOpenFiles, files }, 'maxOpenFiles may not be so many here')
}

/** Without the right to lower it, zero is as low as it gets. */
async function setOomScore(wanted: number): Promise<number> {
  const current = Number(await readFile(scoreFile, 'utf8'))
  for (const score of current > 0 ? [wanted, 0] : [wanted]) {
    try {
      await writeFile(scoreFile, String(score))
      return score
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    }
  }
  return current
}

function setOpenFiles(wanted: number): number {
  try {
    setFileLimit({ soft: wanted, hard: wanted })
    return wanted
  } catch (error) {
    if (!(error instanceof LinuxError) || error.code !== 'EPERM') throw error
  }
  const { hard } = fileLimit()
  setFileLimit({ soft: hard, hard })
  return hard
}
