// Small controls, each with a name that is read out.

import type { ComponentChildren } from "preact";
import type { Ref } from "preact";

interface SelectProps<T extends string> {
  label: string;
  value: T;
  choices: readonly { value: T; text: string }[];
  onChange(value: T): void;
  name?: string;
}

export function Select<T extends string>({ label, value, choices, onChange, name }: SelectProps<T>) {
  return (
    <label class="field">
      <span class="field-label">{label}</span>
      <select name={name} value={value} onChange={(event) => onChange((event.currentTarget as HTMLSelectElement).value as T)}>
        {choices.map((choice) => (
          <option key={choice.value} value={choice.value} selected={choice.value === value}>
            {choice.text}
          </option>
        ))}
      </select>
    </label>
  );
}

// A few choices that are all worth seeing.
export function Segmented<T extends string>({ label, value, choices, onChange, name }: SelectProps<T>) {
  return (
    <div class="segmented" role="group" aria-label={label} data-choice={name}>
      {choices.map((choice) => (
        <button type="button" key={choice.value} aria-pressed={choice.value === value} data-value={choice.value} onClick={() => onChange(choice.value)}>
          {choice.text}
        </button>
      ))}
    </div>
  );
}

export function Toggle({ on, onChange, children, name, title }: { on: boolean; onChange(on: boolean): void; children: ComponentChildren; name?: string; title?: string }) {
  return (
    <button type="button" class="toggle" aria-pressed={on} data-toggle={name} title={title} onClick={() => onChange(!on)}>
      {children}
    </button>
  );
}

interface TextProps {
  label: string;
  value: string;
  onInput(value: string): void;
  placeholder?: string;
  name?: string;
  list?: string;
  inputRef?: Ref<HTMLInputElement>;
  width?: "narrow" | "wide";
}

export function TextField({ label, value, onInput, placeholder, name, list, inputRef, width }: TextProps) {
  return (
    <label class={`field ${width ? `field-${width}` : ""}`}>
      <span class="field-label">{label}</span>
      <input
        ref={inputRef}
        type="text"
        name={name}
        value={value}
        placeholder={placeholder}
        list={list}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => onInput((event.currentTarget as HTMLInputElement).value)}
      />
    </label>
  );
}
