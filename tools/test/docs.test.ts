import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
const documents = globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md'], { cwd: root }).toSorted()

/** Targets of the links of a document that lead to files; code blocks are no text. */
function fileLinks(markdown: string): string[] {
  const text = markdown.replaceAll(/^```[\s\S]*?^```/gm, '')
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target.replace(/#.*$/, ''))
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
}

test('the documents are found', () => {
  expect(documents).toEqual(expect.arrayContaining(['README.md', 'docs/design.md', 'packages/linux/README.md']))
  expect(fileLinks('[a](b.md#c) [d](https://e) [f](#g)\n```\n[h](i)\n```\n')).toEqual(['b.md'])
})

test.each(documents)('every link of %s leads to a file', (document) => {
  const broken = fileLinks(readFileSync(join(root, document), 'utf8')).filter(
    (target) => !existsSync(join(root, dirname(document), target)),
  )
  expect(broken).toEqual([])
})
