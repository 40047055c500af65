// What must outlive the agent of one pod: back-offs, and when its end began. One file in the pod's folder.
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { Allocation } from '../resize/allocation.ts'
import type { BackOff } from './restart.ts'

/** Plain data. */
export interface JournalEntry {
  /** By container name, image and resources. */
  backOffs: Record<string, BackOff>
  /** When the pod's containers were first told to end, and with which grace. */
  terminating?: { sinceMs: number; graceSeconds: number } | undefined
  /** Of a pod that was resized: what its containers were given, and what the runtime was told. */
  resized?: { allocated: Allocation; actuated: Allocation } | undefined
}

const quantities = z.record(z.string(), z.string())
const allocation = z.record(
  z.string(),
  z.object({ requests: quantities.optional(), limits: quantities.optional() }),
) as z.ZodType<Allocation>

const schema = z.object({
  backOffs: z.record(z.string(), z.object({ delayMs: z.number(), updatedMs: z.number() })),
  terminating: z.object({ sinceMs: z.number(), graceSeconds: z.number() }).optional(),
  resized: z.object({ allocated: allocation, actuated: allocation }).optional(),
})

const pathOf = (rootDir: string, podUid: string): string => join(rootDir, 'pods', podUid, 'journal.json')

/** An empty entry when there is none, or one that a crash of the disk left unreadable: back-offs then begin anew. */
export async function readJournal(rootDir: string, podUid: string): Promise<JournalEntry> {
  try {
    return schema.parse(JSON.parse(await readFile(pathOf(rootDir, podUid), 'utf8')))
  } catch {
    // Missing for every new pod. Unreadable: nothing in it is worth keeping a pod from running.
    return { backOffs: {} }
  }
}

/** Survives a crash whole or not at all. */
export async function writeJournal(rootDir: string, podUid: string, entry: JournalEntry): Promise<void> {
  const path = pathOf(rootDir, podUid)
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  const temporary = `${path}.tmp`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify(entry))
    await file.sync()
  }
  await rename(temporary, path)
}
