// Shows lines that change: redrawn in place on a terminal, printed once each elsewhere.
import type { WriteStream } from 'node:tty'

export interface Screen {
  /** Replaces what was drawn since the last {@link keep}. */
  draw(lines: readonly string[]): void
  /** Leaves what is drawn where it is. */
  keep(): void
  print(line?: string): void
}

export function openScreen(out: NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY'>>): Screen {
  let drawn: readonly string[] = []
  const print = (line = ''): void => void out.write(`${line}\n`)
  return {
    draw(lines) {
      if (out.isTTY) {
        if (drawn.length > 0) out.write(`\u001b[${drawn.length}A\u001b[J`)
        for (const line of lines) print(line)
      } else {
        for (const line of lines) if (!drawn.includes(line)) print(line)
      }
      drawn = [...lines]
    },
    keep: () => void (drawn = []),
    print,
  }
}
