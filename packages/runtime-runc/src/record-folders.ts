// Objects on disk: a folder each, named by its ID, with the record and what else belongs to the object.
import { readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isMissing, removeHalves, removeTree } from './files.ts'

export interface RecordKind<T> {
  /** What an object is called in messages. */
  what: string
  /** The record's name in the folder. */
  file: string
  /** @throws Error when the text is no record of this object. */
  parse: (text: string, id: string) => T
}

/** An ID as made here: 64 hexadecimal digits. */
export const isId = (name: string): boolean => /^[0-9a-f]{64}$/.test(name)

/** Ends the names of folders whose record cannot be read. */
const DAMAGED = '.damaged'

export interface FoundRecords<T> {
  records: T[]
  /** IDs whose folders are set aside, now or before. What they had elsewhere is nobody's. */
  damaged: string[]
}

/**
 * Reads all records of a folder. One without a readable record is set aside as `ID.damaged` and told of. One whose
 * first record was never finished is nothing yet and goes, and so does one that was being removed.
 */
export async function readRecords<T>(
  root: string,
  { what, file, parse }: RecordKind<T>,
  onProblem: (error: Error) => void,
): Promise<FoundRecords<T>> {
  const names = await removeHalves(root)
  const damaged = names.flatMap((name) => (name.endsWith(DAMAGED) ? [name.slice(0, -DAMAGED.length)] : []))
  const read = async (id: string): Promise<T[]> => {
    const folder = join(root, id)
    try {
      return [parse(await readFile(join(folder, file), 'utf8'), id)]
    } catch (cause) {
      if (isMissing(cause) && (await readdir(folder)).every((name) => name === `${file}.tmp`)) {
        await removeTree(folder)
        return []
      }
      await rename(folder, `${folder}${DAMAGED}`)
      damaged.push(id)
      const message = (cause as Error).message.replaceAll(/\s+/g, ' ')
      onProblem(
        new Error(
          `${what} ${id} has no readable record (${message}): its folder is now ${folder}${DAMAGED}; it is unknown from now on`,
          { cause },
        ),
      )
      return []
    }
  }
  return { records: (await Promise.all(names.filter(isId).map(read))).flat(), damaged }
}
